"""A deployed HTTP API, called by real HTTP: what the function is given, and what becomes of its answer."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from loglineos.aws import Endpoint
from loglineos.aws.gateway.routes import find_route
from loglineos.aws.gateway.throttle import Throttle

Client = Callable[[str], Any]
STACK, GROUP, REGION = "Gateway", "/aws/vendedlogs/gateway", "us-east-2"
CODE = """
import json, os, time

def handler(event, context):
    asked = json.loads(event.get("body") or "{}") if event["rawPath"].endswith("/do") else {}
    if "raise" in asked:
        raise ValueError("no good")
    time.sleep(asked.get("sleep", 0))
    if "answer" in asked:
        return asked["answer"]
    return {"statusCode": 201, "headers": {"X-Seen": "yes", "Content-Type": "application/json"},
            "cookies": ["a=1; Path=/", "b=2"], "body": json.dumps({"event": event, "pid": os.getpid()})}
"""
CORS = {
    "AllowOrigins": ["https://app.example.com"],
    "AllowMethods": ["GET", "POST"],
    "AllowHeaders": ["authorization"],
    "ExposeHeaders": ["etag"],
    "MaxAge": 600,
}
ROUTES = ["POST /do", "ANY /echo/{id}", "GET /files/{path+}", "GET /limited"]
FORMAT = {"id": "$context.requestId", "route": "$context.routeKey", "status": "$context.status",
          "agent": "$context.identity.userAgent", "error": "$context.integrationErrorMessage"}  # fmt: skip


def one(kind: str, depends: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    return {"Type": kind, "Properties": properties, **({"DependsOn": depends} if depends else {})}


def template() -> dict[str, Any]:
    api, target = {"Ref": "Http"}, {"Fn::Join": ["/", ["integrations", {"Ref": "Integration"}]]}
    limited = {"GET /limited": {"ThrottlingRateLimit": 1, "ThrottlingBurstLimit": 2}}
    source = {"Fn::Sub": "arn:aws:execute-api:${AWS::Region}:${AWS::AccountId}:${Http}/*/*"}
    routes = {f"Route{n}": one("AWS::ApiGatewayV2::Route", ApiId=api, RouteKey=key, Target=target)
              for n, key in enumerate(ROUTES)}  # fmt: skip
    return {
        "Resources": {
            "Role": one("AWS::IAM::Role", AssumeRolePolicyDocument={"Version": "2012-10-17", "Statement": []}),
            "Function": one(
                "AWS::Lambda::Function", FunctionName="behind", Runtime="python3.13", Handler="index.handler",
                Role={"Fn::GetAtt": ["Role", "Arn"]}, Code={"ZipFile": CODE}, Timeout=5,
                ReservedConcurrentExecutions=4,
            ),
            "Permission": one(
                "AWS::Lambda::Permission", FunctionName={"Ref": "Function"}, Action="lambda:InvokeFunction",
                Principal="apigateway.amazonaws.com", SourceArn=source,
            ),
            "Http": one("AWS::ApiGatewayV2::Api", Name="gateway", ProtocolType="HTTP", CorsConfiguration=CORS),
            "Integration": one(
                "AWS::ApiGatewayV2::Integration", ApiId=api, IntegrationType="AWS_PROXY", TimeoutInMillis=2000,
                IntegrationUri={"Fn::GetAtt": ["Function", "Arn"]}, PayloadFormatVersion="2.0",
            ),
            **routes,
            "Log": one("AWS::Logs::LogGroup", LogGroupName=GROUP),
            "Stage": one(
                "AWS::ApiGatewayV2::Stage", ApiId=api, StageName="$default", AutoDeploy=True,
                DefaultRouteSettings={"ThrottlingRateLimit": 1000, "ThrottlingBurstLimit": 2000},
                RouteSettings=limited, StageVariables={"colour": "blue"}, depends=list(routes),
                AccessLogSettings={"DestinationArn": {"Fn::GetAtt": ["Log", "Arn"]}, "Format": json.dumps(FORMAT)},
            ),
        },
        "Outputs": {"Url": {"Value": {"Fn::GetAtt": ["Http", "ApiEndpoint"]}}},
    }  # fmt: skip


def change(client: Client, wanted: dict[str, Any], kind: str) -> dict[str, Any]:
    formation = client("cloudformation")
    asked = {"StackName": STACK, "ChangeSetName": "change", "ChangeSetType": kind}
    formation.create_change_set(**asked, TemplateBody=json.dumps(wanted), Capabilities=["CAPABILITY_IAM"])
    formation.execute_change_set(StackName=STACK, ChangeSetName="change")
    formation.get_waiter(f"stack_{kind.lower()}_complete").wait(
        StackName=STACK, WaiterConfig={"Delay": 0.2, "MaxAttempts": 100}
    )
    found: dict[str, Any] = formation.describe_stacks(StackName=STACK)["Stacks"][0]
    return found


@pytest.fixture(scope="module")
def http(client: Client, endpoint: Endpoint) -> Iterator[httpx.Client]:
    (output,) = change(client, template(), "CREATE")["Outputs"]
    assert output["OutputValue"] == endpoint.api_url
    with httpx.Client(base_url=output["OutputValue"], timeout=20, trust_env=False) as made:
        yield made
    client("cloudformation").delete_stack(StackName=STACK)


def do(http: httpx.Client, **asked: Any) -> httpx.Response:
    return http.post("/do", json=asked)


def event_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    event: dict[str, Any] = answer.json()["event"]
    return event


def test_the_event_is_that_of_payload_format_2(http: httpx.Client) -> None:
    headers = [("X-Two", "a"), ("X-Two", "b"), ("Cookie", "c=1; d=2"), ("User-Agent", "a test"), ("Host", "api:80")]
    event = event_of(http.request("PUT", "/echo/%C3%A1%2Fb?x=1&x=2&y=&z=%C3%A9", headers=headers, content=b""))
    assert (event["version"], event["routeKey"]) == ("2.0", "ANY /echo/{id}")
    assert (event["rawPath"], event["rawQueryString"]) == ("/echo/%C3%A1%2Fb", "x=1&x=2&y=&z=%C3%A9")
    assert event["queryStringParameters"] == {"x": "1,2", "y": "", "z": "é"}
    assert event["pathParameters"] == {"id": "á/b"}
    assert event["cookies"] == ["c=1", "d=2"]
    assert event["headers"]["x-two"] == "a,b"
    assert event["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert not {"cookie", "connection", "X-Two"} & set(event["headers"])
    assert event["stageVariables"] == {"colour": "blue"}
    assert "body" not in event
    assert event["isBase64Encoded"] is False


def test_the_request_context_says_who_what_and_when(http: httpx.Client) -> None:
    answer = http.get("/echo/1", headers={"User-Agent": "a test"})
    context = event_of(answer)["requestContext"]
    assert context["http"] == {
        "method": "GET", "path": "/echo/1", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "a test",
    }  # fmt: skip
    assert (context["accountId"], context["stage"]) == ("123456789012", "$default")
    assert context["requestId"] == answer.headers["apigw-requestid"]
    assert abs(context["timeEpoch"] / 1000 - time.time()) < 60
    assert time.strptime(context["time"], "%d/%b/%Y:%H:%M:%S +0000")


@pytest.mark.parametrize(
    ("kind", "body", "encoded"),
    [
        ("application/json", "{}é".encode(), False),
        ("text/plain; charset=utf-8", b"text", False),
        ("application/octet-stream", b"text", True),
        ("application/json", b"\xff\xfe", True),
    ],
)
def test_text_is_handed_over_as_text_and_all_else_in_base64(
    kind: str, body: bytes, encoded: bool, http: httpx.Client
) -> None:
    event = event_of(http.post("/echo/1", content=body, headers={"content-type": kind}))
    assert event["isBase64Encoded"] is encoded
    assert (base64.b64decode(event["body"]) if encoded else event["body"].encode()) == body


def test_what_is_sent_in_pieces_arrives_whole(http: httpx.Client) -> None:
    pieces = iter([b'{"a":', b"1", b"}"])
    event = event_of(http.post("/echo/1", content=pieces, headers={"content-type": "application/json"}))
    assert event["body"] == '{"a":1}'
    assert (event["headers"]["content-length"], "transfer-encoding" in event["headers"]) == ("7", False)


def test_the_functions_answer_is_the_answer(http: httpx.Client) -> None:
    answer = http.get("/echo/1")
    assert (answer.status_code, answer.headers["x-seen"]) == (201, "yes")
    assert answer.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]
    packed = {"statusCode": 200, "isBase64Encoded": True, "body": base64.b64encode(b"\x00\xff").decode()}
    assert do(http, answer=packed).content == b"\x00\xff"
    assert do(http, answer={"statusCode": 304, "headers": {"etag": '"x"'}}).headers["etag"] == '"x"'
    assert do(http, answer={"statusCode": "200", "body": "x"}).headers["content-type"] == "text/plain;charset=UTF-8"


@pytest.mark.parametrize(
    ("said", "text"), [({"hello": "world"}, '{"hello": "world"}'), ("hello", "hello"), ([1], "[1]")]
)
def test_without_a_status_the_result_is_the_body(said: Any, text: str, http: httpx.Client) -> None:
    answer = do(http, answer=said)
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (200, "application/json", text)


MALFORMED = [
    {"statusCode": "many"},
    {"statusCode": 200, "body": {"not": "text"}},
    {"statusCode": 200, "headers": {"x": "a\r\nset-cookie: forged=1"}},
    {"statusCode": 200, "isBase64Encoded": True, "body": "?"},
]


@pytest.mark.parametrize("asked", [{"raise": True}, *({"answer": said} for said in MALFORMED)])
def test_what_fails_or_is_no_answer_is_500_and_tells_no_more(asked: dict[str, Any], http: httpx.Client) -> None:
    answer = do(http, **asked)
    assert (answer.status_code, answer.json()) == (500, {"message": "Internal Server Error"})


def test_who_takes_longer_than_the_integration_is_503(http: httpx.Client) -> None:
    answer = do(http, sleep=3)
    assert (answer.status_code, answer.json()) == (503, {"message": "Service Unavailable"})


@pytest.mark.parametrize(("method", "path"), [("GET", "/do"), ("POST", "/do/"), ("GET", "/files/"), ("GET", "/")])
def test_what_is_no_route_is_404(method: str, path: str, http: httpx.Client) -> None:
    answer = http.request(method, path)
    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})


def test_a_payload_has_a_limit(http: httpx.Client) -> None:
    answer = http.post("/echo/1", content=b"x" * (10 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()) == (413, {"message": "Request Entity Too Large"})
    assert http.get("/echo/1").status_code == 201


def test_a_route_has_limits_of_its_own(http: httpx.Client) -> None:
    statuses = [http.get("/limited").status_code for _ in range(12)]
    assert statuses[:2] == [201, 201]
    assert 429 in statuses
    assert http.get("/echo/1").status_code == 201


def test_more_at_once_than_the_function_may_run_wait_their_turn(http: httpx.Client) -> None:
    def at_once() -> set[int]:
        with ThreadPoolExecutor(max_workers=20) as many:
            answers = list(many.map(lambda _: do(http, sleep=0.05), range(20)))
        assert [answer.status_code for answer in answers] == [201] * 20
        return {answer.json()["pid"] for answer in answers}

    assert len(at_once() | at_once()) <= 4, "no more than it may, and what ran stays warm"


def test_preflights_are_answered_without_the_function(http: httpx.Client) -> None:
    asks = {"origin": "https://app.example.com", "access-control-request-method": "POST"}
    answer = http.options("/do", headers=asks)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
    assert answer.headers["access-control-allow-methods"] == "GET,POST"
    assert answer.headers["access-control-allow-headers"] == "authorization"
    assert answer.headers["access-control-max-age"] == "600"
    other = http.options("/do", headers={**asks, "origin": "https://evil.example"})
    assert (other.status_code, "access-control-allow-origin" in other.headers) == (204, False)


def test_the_apis_word_on_cors_holds_and_not_the_functions(http: httpx.Client) -> None:
    said = {"statusCode": 200, "headers": {"access-control-allow-origin": "*"}}
    for origin, allowed in (("https://app.example.com", "https://app.example.com"), ("https://evil.example", None)):
        answer = http.post("/do", json={"answer": said}, headers={"origin": origin})
        assert answer.headers.get("access-control-allow-origin") == allowed


def test_each_request_is_a_line_of_the_access_log(http: httpx.Client, client: Client) -> None:
    answers = [http.get("/echo/1", headers={"User-Agent": 'says "hi"'}), http.get("/nowhere"), do(http, **{"raise": 1})]
    events = client("logs").filter_log_events(logGroupName=GROUP)["events"]
    lines = {line["id"]: line for line in (json.loads(event["message"]) for event in events)}
    told = [lines[answer.headers["apigw-requestid"]] for answer in answers]
    assert [(line["route"], line["status"]) for line in told] == [
        ("ANY /echo/{id}", "201"), ("-", "404"), ("POST /do", "500"),
    ]  # fmt: skip
    assert told[0]["agent"] == 'says "hi"'
    assert told[2]["error"] == "the function failed: its log says how"


def test_without_its_permission_the_function_is_not_called(http: httpx.Client, client: Client) -> None:
    without = template()
    elsewhere = {"Fn::Sub": "arn:aws:execute-api:${AWS::Region}:${AWS::AccountId}:another/*/*"}
    without["Resources"]["Permission"]["Properties"]["SourceArn"] = elsewhere
    change(client, without, "UPDATE")
    assert http.get("/echo/1").status_code == 500
    change(client, template(), "UPDATE")
    assert http.get("/echo/1").status_code == 201


def test_of_several_apis_a_request_names_one_by_its_host(http: httpx.Client, client: Client) -> None:
    (found,) = client("apigatewayv2").get_apis()["Items"]
    other = client("apigatewayv2").create_api(Name="other", ProtocolType="HTTP")["ApiId"]
    assert http.get("/echo/1").status_code == 404
    assert http.get("/echo/1", headers={"host": f"{found['ApiId']}.localhost"}).status_code == 201
    client("apigatewayv2").delete_api(ApiId=other)


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/a/b", ("GET /a/b", {})),
        ("GET", "/a/c", ("GET /a/{id}", {"id": "c"})),
        ("POST", "/a/b", ("ANY /a/{rest+}", {"rest": "b"})),
        ("GET", "/a/b/c", ("ANY /a/{rest+}", {"rest": "b/c"})),
        ("GET", "/b", ("$default", {})),
    ],
)
def test_the_most_special_route_wins(method: str, path: str, found: Any) -> None:
    keys = ["$default", "ANY /a/{rest+}", "GET /a/{id}", "GET /a/b"]
    assert find_route(keys, method, path) == found
    assert find_route(reversed(keys), method, path) == found


def test_a_bucket_fills_again_by_its_rate() -> None:
    now = [100.0]
    throttle = Throttle(lambda: now[0])

    class Stage:
        name = "$default"
        route_settings: dict[str, Any] = {}  # noqa: RUF012
        default_route_settings = {"throttlingRateLimit": 2, "throttlingBurstLimit": 3}  # noqa: RUF012

    def admitted(count: int) -> int:
        return sum(throttle.admits("api", Stage, "GET /") for _ in range(count))

    assert admitted(10) == 3
    now[0] += 1
    assert admitted(10) == 2
    now[0] += 60
    assert admitted(10) == 3

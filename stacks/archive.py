"""Where old spans go: a bucket that keeps them, and Athena over the Parquet in it."""

import aws_cdk as cdk
from aws_cdk import aws_athena as athena
from aws_cdk import aws_glue as glue
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.archive_queries import QUERIES
from stacks.environment import Environment
from stacks.stack import LedgerStack, removal_of

SPANS = "spans"  # the archive's prefix: spans/month=YYYY-MM/*.parquet
LOG = "log"  # the transparency log's: log/checkpoint, log/tile/…
FIRST_MONTH = "2025-01"
# The registry's columns as the files hold them (db_migration/archive/parquet.py): JSON as text, ids as text, times in
# microseconds of UTC, of which Athena shows the milliseconds.
COLUMNS = {
    "id": "string", "seq": "int", "entity_type": "string", "who": "string", "did": "string",
    "this": "string", "at": "timestamp", "parent_id": "string", "related_to": "array<string>",
    "owner_id": "string", "tenant_id": "string", "visibility": "string", "status": "string",
    "is_deleted": "boolean", "name": "string", "description": "string", "code": "string",
    "language": "string", "runtime": "string", "input": "string", "output": "string", "error": "string",
    "metadata": "string", "duration_ms": "int", "trace_id": "string", "prev_hash": "string",
    "curr_hash": "string", "signature": "string", "public_key": "string", "era": "int", "xid": "string",
    "position": "bigint",
}  # fmt: skip
PARQUET_INPUT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
PARQUET_OUTPUT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
PARQUET_SERDE = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"


class ArchiveStack(LedgerStack):
    def __init__(self, scope: Construct, environment: Environment, key: kms.IKey) -> None:
        super().__init__(scope, environment, "archive", "archive bucket and Athena")
        self.environment_settings = environment
        self.bucket = self._build_bucket(environment, key)
        table = self._build_table(environment)
        workgroup = self._build_workgroup(environment)
        self._save_queries(environment, table, workgroup)
        cdk.CfnOutput(self, "ArchiveBucket", value=self.bucket.bucket_name)
        cdk.CfnOutput(self, "ArchiveLocation", value=self.location, description="Where log and archive are")
        cdk.CfnOutput(self, "AthenaWorkGroup", value=environment.resource("archive"))
        cdk.CfnOutput(self, "AthenaTable", value=f"{_sql_name(environment)}.{SPANS}")

    @property
    def location(self) -> str:
        """Of log and archive: what is under it changes with `log_number`."""
        return f"s3://{self.bucket.bucket_name}/{self.environment_settings.archive_prefix('')}".rstrip("/")

    def _bucket_name(self, environment: Environment, thing: str) -> str:
        """Bucket names are the world's: account and region make this one ours."""
        return f"{environment.resource(thing)}-{self.account}-{self.region}"

    def _build_bucket(self, environment: Environment, key: kms.IKey) -> s3.Bucket:
        access_logs = s3.Bucket(
            self,
            "AccessLogs",
            bucket_name=self._bucket_name(environment, "access-logs"),
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            versioned=True,
            lifecycle_rules=[
                s3.LifecycleRule(expiration=cdk.Duration.days(365), noncurrent_version_expiration=cdk.Duration.days(30))
            ],
            removal_policy=removal_of(environment),
        )
        return s3.Bucket(
            self,
            "Archive",
            bucket_name=self._bucket_name(environment, "archive"),
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            versioned=True,
            object_lock_enabled=environment.object_lock_days > 0,
            object_lock_default_retention=_kept(environment.object_lock_days),
            server_access_logs_bucket=access_logs,
            server_access_logs_prefix="archive/",
            lifecycle_rules=[_to_glacier(environment, number) for number in range(1, environment.log_number + 1)],
            removal_policy=removal_of(environment),
        )

    def _build_table(self, environment: Environment) -> glue.CfnTable:
        database = glue.CfnDatabase(
            self,
            "Database",
            catalog_id=self.account,
            database_input=glue.CfnDatabase.DatabaseInputProperty(name=_sql_name(environment)),
        )
        location = f"s3://{self.bucket.bucket_name}/{environment.archive_prefix(SPANS)}/"
        table = glue.CfnTable(
            self,
            "Spans",
            catalog_id=self.account,
            database_name=_sql_name(environment),
            table_input=glue.CfnTable.TableInputProperty(
                name=SPANS,
                description="Archived spans, a folder for each month",
                table_type="EXTERNAL_TABLE",
                partition_keys=[_column("month", "string")],
                parameters=_months_without_a_crawler(location),
                storage_descriptor=glue.CfnTable.StorageDescriptorProperty(
                    location=location,
                    columns=[_column(name, kind) for name, kind in COLUMNS.items()],
                    input_format=PARQUET_INPUT,
                    output_format=PARQUET_OUTPUT,
                    serde_info=glue.CfnTable.SerdeInfoProperty(serialization_library=PARQUET_SERDE),
                ),
            ),
        )
        table.add_resource_dependency(database)
        return table

    def _build_workgroup(self, environment: Environment) -> athena.CfnWorkGroup:
        return athena.CfnWorkGroup(
            self,
            "WorkGroup",
            name=environment.resource("archive"),
            description="Queries over archived spans",
            work_group_configuration=athena.CfnWorkGroup.WorkGroupConfigurationProperty(
                enforce_work_group_configuration=True,
                publish_cloud_watch_metrics_enabled=True,
                bytes_scanned_cutoff_per_query=100 * 1024**3,
                # Kept by Athena for a day: in the bucket, Object Lock would keep every result for a year.
                managed_query_results_configuration=athena.CfnWorkGroup.ManagedQueryResultsConfigurationProperty(
                    enabled=True
                ),
            ),
        )

    def _save_queries(self, environment: Environment, table: glue.CfnTable, workgroup: athena.CfnWorkGroup) -> None:
        for query in QUERIES:
            saved = athena.CfnNamedQuery(
                self,
                query.name.title().replace("-", ""),
                name=query.name,
                description=f"{query.description}. Asks for {query.asks}",
                database=_sql_name(environment),
                work_group=environment.resource("archive"),
                query_string=query.sql,
            )
            saved.add_resource_dependency(table)
            saved.add_resource_dependency(workgroup)

    def writer_statements(self, key: kms.IKey) -> list[iam.PolicyStatement]:
        """What archive and notary need: to add and to read back; never to remove."""
        prefixes = [self.environment_settings.archive_prefix(part) for part in (SPANS, LOG)]
        files = [self.bucket.arn_for_objects(f"{prefix}/*") for prefix in prefixes]
        return [
            iam.PolicyStatement(actions=["s3:PutObject", "s3:GetObject"], resources=files),
            # Without it S3 answers 403 for a file that is not there, as for one that may not be read.
            iam.PolicyStatement(actions=["s3:ListBucket"], resources=[self.bucket.bucket_arn]),
            iam.PolicyStatement(
                actions=["kms:GenerateDataKey", "kms:Decrypt"],
                resources=[key.key_arn],
                conditions={"StringEquals": {"kms:ViaService": f"s3.{self.region}.amazonaws.com"}},
            ),
        ]


def _kept(days: int) -> s3.ObjectLockRetention | None:
    return s3.ObjectLockRetention.governance(cdk.Duration.days(days)) if days else None


def _to_glacier(environment: Environment, number: int) -> s3.LifecycleRule:
    """Instant Retrieval: the only Glacier that Athena can read without a restore."""
    instant = s3.StorageClass.GLACIER_INSTANT_RETRIEVAL
    transition = s3.Transition(storage_class=instant, transition_after=cdk.Duration.days(90))
    return s3.LifecycleRule(
        id="glacier" if number == 1 else f"glacier-{number}",
        prefix=f"{environment.archive_prefix(SPANS, number)}/",
        transitions=[transition],
        abort_incomplete_multipart_upload_after=cdk.Duration.days(7),
    )


def _sql_name(environment: Environment) -> str:
    return environment.resource("archive").replace("-", "_")


def _column(name: str, kind: str) -> glue.CfnTable.ColumnProperty:
    return glue.CfnTable.ColumnProperty(name=name, type=kind)


def _months_without_a_crawler(location: str) -> dict[str, str]:
    """Partition projection: a month is there for Athena as soon as its folder is."""
    return {
        "classification": "parquet",
        "EXTERNAL": "TRUE",
        "projection.enabled": "true",
        "projection.month.type": "date",
        "projection.month.format": "yyyy-MM",
        "projection.month.range": f"{FIRST_MONTH},NOW",
        "projection.month.interval": "1",
        "projection.month.interval.unit": "MONTHS",
        "storage.location.template": f"{location}month=${{month}}/",
    }

"""What the test's layer brings."""


def greet(name: str) -> str:
    return f"hello {name}"

"""The loader's HTTPS side: API Gateway's events become the same requests as a direct invocation's."""

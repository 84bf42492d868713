"""`ApiError`: the answer to a call that fails. Codes are MPS's own (reference G.4, G.5)."""

from __future__ import annotations


class ApiError(Exception):
    """Answered as `Error.Code` and `Error.Message`; the SDKs raise it as their own exception."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def missing(parameter: str) -> ApiError:
    return ApiError("MissingParameter", f"The request is missing a required parameter `{parameter}`.")

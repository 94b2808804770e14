"""Faults that are error bodies: instead of an answer, or as an event in the middle of one."""

from __future__ import annotations

import math
import time
from email.utils import formatdate
from typing import Any

from gemini_nb.simulator.delivery import ArrayEncoder, BytesEncoder, Encoder, ObjectEncoder, Reply
from gemini_nb.simulator.faults import Fault
from gemini_nb.simulator.refusals import RefusalError

__all__ = ["error_body", "refusal"]

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MESSAGES = {
    429: "Resource has been exhausted (e.g. check quota).",
    500: "An internal error has occurred.",
    503: "The model is overloaded. Please try again later.",
    504: "The request timed out. Please try again.",
}
_TYPE = "type.googleapis.com/google.rpc."
_METRIC = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
_HTML = b"""\
<!DOCTYPE html>
<html lang=en>
<title>Error %(code)d (Simulated)!!1</title>
<p><b>%(code)d.</b> <ins>That's an error.</ins>
<p>The server met a temporary error and could not complete the request. <ins>That's all we know.</ins>
"""


def refusal(fault: Fault, model: str, *, wrapped: bool) -> Reply:
    """Make the reply with the fault's status.

    Args:
        fault: it has a status.
        model: the model that was asked.
        wrapped: whether errors of this request come in an array in any case.
    """
    code = fault.status or 500
    headers = {}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(fault.retry_after))
    elif fault.retry_date is not None:
        # The date has whole seconds, so it is rounded up: a client that waits for it must not come too early.
        headers["Retry-After"] = formatdate(math.ceil(time.time() + fault.retry_date), usegmt=True)
    if fault.body == "empty" or code in {204, 304}:
        return Reply(status=code, headers=headers, encoder=BytesEncoder("text/plain"), steps=[])
    if fault.body == "html":
        page = BytesEncoder("text/html; charset=UTF-8")
        return Reply(status=code, headers=headers, encoder=page, steps=[_HTML % {b"code": code}])
    array = fault.body == "array" or (wrapped and fault.body is None)
    encoder: Encoder = ArrayEncoder() if array else ObjectEncoder()
    body = error_body(code, fault, model)
    steps = [body["error"] if fault.body == "bare" else body]
    return Reply(status=code, headers=headers, encoder=encoder, steps=steps)


def error_body(code: int, fault: Fault, model: str) -> dict[str, Any]:
    """Build the error as Google's services write it, with the details that the fault asks for."""
    message = _MESSAGES.get(code, f"The simulator was asked to answer {code}.")
    details: list[dict[str, Any]] = []
    if fault.quota is not None:
        message = (
            "You exceeded your current quota, please check your plan and billing details.\n"
            f"* Quota exceeded for metric: {_METRIC}, limit: {fault.quota}, model: {model}"
        )
        span = (fault.quota_per or "minute").title()
        violation = {
            "quotaMetric": _METRIC,
            "quotaId": f"GenerateRequestsPer{span}PerProjectPerModel-FreeTier",
            "quotaDimensions": {"location": "global", "model": model},
        }
        # As everywhere in protobuf JSON, a value of 0 is left out.
        value = {"quotaValue": str(fault.quota)} if fault.quota else {}
        details.append({"@type": _TYPE + "QuotaFailure", "violations": [{**violation, **value}]})
    if fault.retry_info is not None:
        message += f"\nPlease retry in {fault.retry_info:.9g}s."
        delay = f"{fault.retry_info:.9f}".rstrip("0").rstrip(".")
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{delay}s"})
    return RefusalError(code, _STATUSES.get(code, "UNKNOWN"), message, details).to_json()

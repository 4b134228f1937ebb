"""AuthInterceptor: establishes who called: for the record, for fair shares, and as the scope of idempotency keys.

It never authorizes: Cloud Run's IAM check has done that.
"""

from typing import Any, Protocol

from connectrpc.request import RequestContext

from ingress.call_context import CallContext, current_call
from ingress.callers.identity import IAP_ASSERTION_HEADER, caller_from_headers
from shared.errors import UncheckedCallerError
from shared.events.event import Caller


class AssertionVerifier(Protocol):
    """Verifies an IAP assertion."""

    async def verify(self, assertion: str) -> Caller | None:
        """The caller of a valid assertion; None for an invalid one.

        Raises:
            UncheckedCallerError: the assertion cannot be verified now.
        """
        ...


class AuthInterceptor:
    """Sets the call's caller: from a valid assertion, else from the other headers."""

    def __init__(self, *, verifier: AssertionVerifier | None, trust_cloud_run_iam: bool) -> None:
        self._verifier = verifier
        self._trust_cloud_run_iam = trust_cloud_run_iam

    async def on_start(self, ctx: RequestContext[Any, Any]) -> CallContext:
        call = current_call()
        headers = ctx.request_headers
        assertion = headers.get(IAP_ASSERTION_HEADER) if self._verifier else None
        verified = await self._verified(assertion, call) if assertion else None
        call.caller = verified or caller_from_headers(headers, trust_cloud_run_iam=self._trust_cloud_run_iam)
        return call

    async def _verified(self, assertion: str, call: CallContext) -> Caller | None:
        if self._verifier is None:
            return None
        try:
            return await self._verifier.verify(assertion)
        except UncheckedCallerError:
            # Logging an event matters more than who sent it. Only one with a key is refused, by the handler.
            call.is_caller_unchecked = True
            return None

    async def on_end(self, token: CallContext, ctx: RequestContext[Any, Any], error: Exception | None, /) -> None:
        """Nothing to end."""

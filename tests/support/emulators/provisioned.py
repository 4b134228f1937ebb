"""A database, topics and subscriptions of a test's own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames, provisioner


@asynccontextmanager
async def provisioned(emulators: Emulators, prefix: str) -> AsyncIterator[StackNames]:
    """Provisions under unique names, and deletes it all at the end unless the body raises."""
    names = StackNames.unique(prefix)
    async with provisioner(emulators) as admin:
        await admin.provision(names)
        yield names
        await admin.delete_topics(names)
        await admin.delete_instance(names)

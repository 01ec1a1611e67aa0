"""Our own client in a process of its own, with the roles of the real peers."""

from __future__ import annotations

import roles

import pillion


class PillionLibrary:
    def open_publication(self, directory: str, channel: str, stream_id: int, exclusive: bool) -> None:
        self.client = pillion.connect(directory)
        add = self.client.add_exclusive_publication if exclusive else self.client.add_publication
        self.publication = add(channel, stream_id)

    def offer(self, payload: bytes, reserved_value: int) -> int:
        return self.publication.offer(payload, reserved_value)

    def claim(self, payload: bytes) -> int:
        claim = self.publication.try_claim(len(payload))
        if not isinstance(claim, pillion.BufferClaim):
            return claim
        with claim:
            claim.buffer[:] = payload
        return 1

    def open_subscription(self, directory: str, channel: str, stream_id: int, handler: roles.Handler) -> None:
        self.client = pillion.connect(directory)
        self.subscription = self.client.add_subscription(channel, stream_id)
        self.assembler = pillion.FragmentAssembler(lambda buffer, header: handler(bytes(buffer), header.reserved_value))

    def poll(self) -> int:
        return self.subscription.poll(self.assembler, 64)

    def close(self) -> None:
        self.client.close()


if __name__ == "__main__":
    roles.run(PillionLibrary(), roles.arguments("publish", "subscribe"))

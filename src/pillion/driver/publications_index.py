"""Every publication of the driver: found by id, by tag, by the agents' structs; dropped by clients."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from pillion.driver.channel_params import SessionOfTag, session_tag
from pillion.driver.publications import PublicationStream, State, unknown_publication
from pillion.driver.refusal import generic
from pillion.driver.session_ids import SessionIds
from pillion.protocol import commands
from pillion.protocol.commands import GetNextSessionId, Remove
from pillion.protocol.ids import ResponseType

if TYPE_CHECKING:
    from pillion.channel import ChannelUri
    from pillion.driver.ipc_publications import IpcStream
    from pillion.driver.network_publications import NetworkStream
    from pillion.driver.services import Services


class PublicationsIndex:
    """One a driver."""

    def __init__(self, services: Services) -> None:
        self.services = services
        settings = services.settings
        self.ipc: list[IpcStream] = []
        self.network: list[NetworkStream] = []
        self.session_ids = SessionIds(
            services.random.int32(),
            settings.publication_reserved_session_id_low,
            settings.publication_reserved_session_id_high,
        )
        self._by_native: dict[object, PublicationStream] = {}
        #: The stream of each client's link, by `(client id, registration id)`.
        self._by_link: dict[tuple[int, int], PublicationStream] = {}

    def add_ipc(self, stream: IpcStream) -> None:
        self.ipc.append(stream)
        self._by_native[stream.native] = stream

    def add_network(self, stream: NetworkStream) -> None:
        self.network.append(stream)
        self._by_native[stream.native] = stream

    def add_link(self, client_id: int, registration_id: int, stream: PublicationStream) -> None:
        self._by_link[client_id, registration_id] = stream

    # ---- finding --------------------------------------------------------------------------------

    def all(self) -> list[PublicationStream]:
        return [*self.ipc, *self.network]

    def by_native(self, native: object) -> PublicationStream | None:
        return self._by_native.get(native)

    def by_registration(self, registration_id: int) -> PublicationStream | None:
        for stream in chain(self.ipc, self.network):
            if stream.registration_id == registration_id:
                return stream
        return None

    def by_client_link(self, client_id: int, registration_id: int) -> PublicationStream | None:
        """The publication by a client's own registration id, or by the original one."""
        stream = self._by_link.get((client_id, registration_id))
        return stream if stream is not None else self.by_registration(registration_id)

    def session_of_tag(self, uri: ChannelUri) -> SessionOfTag | None:
        """What `session-id=tag:<n>` stands for, None for a channel without one."""
        tag = session_tag(uri)
        if tag is None:
            return None
        for stream in self.network:
            if stream.params.entity_tag == tag and stream.state is not State.DONE:
                params = stream.params
                return SessionOfTag(stream.session_id, params.mtu_length, params.term_length)
        raise generic(f"session-id=tag:{tag} must reference a network publication: {uri}")

    # ---- commands -------------------------------------------------------------------------------

    def remove(self, command: Remove) -> None:
        link = (command.client_id, command.registration_id)
        stream = self._by_link.pop(link, None)
        if stream is None:
            raise unknown_publication(command)
        stream.drop_client(link, revoke=bool(command.flags & commands.REVOKE_FLAG))
        self.services.send(
            ResponseType.OPERATION_SUCCESS, commands.encode_id(command.correlation_id)
        )

    def next_session_id(self, command: GetNextSessionId) -> None:
        used = {
            stream.session_id
            for stream in chain(self.ipc, self.network)
            if stream.stream_id == command.stream_id
        }
        session_id = self.session_ids.take(used)
        self.services.send(
            ResponseType.NEXT_SESSION_ID,
            commands.encode_next_session_id(command.correlation_id, session_id),
        )

    def release_client(self, client_id: int) -> None:
        for link in [link for link in self._by_link if link[0] == client_id]:
            self._by_link.pop(link).drop_client(link)

    # ---- the end --------------------------------------------------------------------------------

    def on_released(self, native: object) -> PublicationStream | None:
        """An agent let a publication go; the stream, None if `native` is none of ours."""
        stream = self._by_native.pop(native, None)
        if stream is None:
            return None
        streams: list[IpcStream] | list[NetworkStream] = self.ipc if stream in self.ipc else self.network
        streams.remove(stream)  # type: ignore[arg-type]  # it is of the list's kind
        return stream

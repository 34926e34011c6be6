"""The header of every answer."""

from orchestra.etcdapi.backend import Backend
from orchestra.pb import etcd_rpc_pb2 as pb


class Headers:
    """Says who answers, at which revision and in which term."""

    def __init__(self, backend: Backend) -> None:
        status = backend.status()
        self._backend = backend
        self._store = backend.store
        self.cluster_id = status.cluster
        self.member_id = status.id
        self._identity = self.at(0, 0).SerializeToString()
        self._encoded = (-1, -1, b"")

    def fill(self, header: pb.ResponseHeader, revision: int) -> None:
        """Fills in an answer's header. revision 0: it has none."""
        header.cluster_id = self.cluster_id
        header.member_id = self.member_id
        header.revision = revision
        header.raft_term = self._backend.term

    def at(self, revision: int, term: int | None = None) -> pb.ResponseHeader:
        """A header at a revision. term: None: of now."""
        return pb.ResponseHeader(
            cluster_id=self.cluster_id,
            member_id=self.member_id,
            revision=revision,
            raft_term=self._backend.term if term is None else term,
        )

    def now(self) -> pb.ResponseHeader:
        """A header at the newest revision applied here."""
        return self.at(self._store.revision)

    def unrevised(self) -> pb.ResponseHeader:
        """A header without a revision, as what concerns members has it."""
        return self.at(0)

    def encoded(self, revision: int) -> bytes:
        """A header at a revision as the first field of an encoded response; made once for many of them."""
        term = self._backend.term
        known = self._encoded
        if known[0] == revision and known[1] == term:
            return known[2]
        body = self._identity
        if revision:
            body += b"\x18" + varint(revision)
        if term:
            body += b"\x20" + varint(term)
        data = b"\x0a" + varint(len(body)) + body
        self._encoded = (revision, term, data)
        return data


def varint(number: int) -> bytes:
    """A number as protobuf writes it; a negative one as its 64-bit two's complement."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)

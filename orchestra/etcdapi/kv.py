"""etcd's KV service: ranges, puts, deletions, transactions, compaction."""

from orchestra.etcdapi.backend import Backend
from orchestra.etcdapi.encoding import KeyValueEncoder, encoded_txn
from orchestra.etcdapi.header import Headers
from orchestra.etcdapi.requests import check_size, decoded, delete_of, put_of, range_of, txn_of
from orchestra.etcdapi.responses import fill_delete, fill_put
from orchestra.mvcc.commands import put_command
from orchestra.mvcc.errors import KeyNotFound, LeaseNotFound
from orchestra.mvcc.model import DeleteResult, PutResult, Txn
from orchestra.pb import etcd_rpc_pb2 as pb


class KvService:
    """Each method answers one request. Raises: EtcdError and what the store raises."""

    def __init__(self, backend: Backend, headers: Headers) -> None:
        self._store = backend.store
        self._headers = headers
        self._key_values = KeyValueEncoder()

    async def range(self, request: pb.RangeRequest) -> bytes:
        """The response as it goes over the wire."""
        result = await self._store.range(range_of(request))
        # Without their values, they were made for this answer alone.
        return self._headers.encoded(result.revision) + self._key_values.encoded_range(
            result, keep=not request.keys_only
        )

    async def put(self, encoded: bytes) -> bytes:
        """Takes the request as it came: so it goes into the log. The response as it goes over the wire."""
        request = decoded(pb.PutRequest, encoded)
        put = put_of(request)
        check_size(encoded)
        try:
            result = await self._store.put(put, put_command(encoded))
        except KeyNotFound:
            # Outside a transaction, etcd looks at the lease first.
            if request.lease and request.lease not in self._store.machine.leases:
                raise LeaseNotFound(request.lease) from None
            raise
        header = self._headers.encoded(result.revision)
        if not request.prev_kv:
            return header
        response = pb.PutResponse()
        answer = result.responses[0]
        assert isinstance(answer, PutResult)
        fill_put(response, answer)
        return header + response.SerializeToString()

    async def delete_range(self, request: pb.DeleteRangeRequest) -> pb.DeleteRangeResponse:
        result = await self._store.txn(Txn((), (delete_of(request),)))
        response = pb.DeleteRangeResponse()
        deleted = result.responses[0]
        assert isinstance(deleted, DeleteResult)
        self._headers.fill(response.header, deleted.revision)
        fill_delete(response, deleted)
        return response

    async def txn(self, encoded: bytes) -> bytes:
        """Takes the request as it came. The response as it goes over the wire."""
        txn = txn_of(decoded(pb.TxnRequest, encoded))
        check_size(encoded)
        result = await self._store.txn(txn)
        return self._headers.encoded(result.revision) + encoded_txn(result)

    async def compact(self, request: pb.CompactionRequest) -> pb.CompactionResponse:
        """physical says nothing here: what a compaction forgets is gone when it is answered."""
        await self._store.compact(request.revision)
        return pb.CompactionResponse(header=self._headers.now())

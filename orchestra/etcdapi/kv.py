"""etcd's KV service: ranges, puts, deletions, transactions, compaction."""

from orchestra.etcdapi.backend import Backend
from orchestra.etcdapi.header import Headers
from orchestra.etcdapi.requests import check_size, decoded, delete_of, put_of, range_of, txn_of
from orchestra.etcdapi.responses import fill_delete, fill_put, fill_range, fill_txn
from orchestra.mvcc.commands import put_command
from orchestra.mvcc.errors import KeyNotFound, LeaseNotFound
from orchestra.mvcc.model import DeleteResult, PutResult, Txn
from orchestra.pb import etcd_rpc_pb2 as pb


class KvService:
    """Each method answers one request. Raises: EtcdError and what the store raises."""

    def __init__(self, backend: Backend, headers: Headers) -> None:
        self._store = backend.store
        self._headers = headers

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        result = await self._store.range(range_of(request))
        response = pb.RangeResponse()
        self._headers.fill(response.header, result.revision)
        fill_range(response, result)
        return response

    async def put(self, encoded: bytes) -> pb.PutResponse:
        """Takes the request as it came: so it goes into the log."""
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
        response = pb.PutResponse()
        self._headers.fill(response.header, result.revision)
        if request.prev_kv:
            answer = result.responses[0]
            assert isinstance(answer, PutResult)
            fill_put(response, answer)
        return response

    async def delete_range(self, request: pb.DeleteRangeRequest) -> pb.DeleteRangeResponse:
        result = await self._store.txn(Txn((), (delete_of(request),)))
        response = pb.DeleteRangeResponse()
        deleted = result.responses[0]
        assert isinstance(deleted, DeleteResult)
        self._headers.fill(response.header, deleted.revision)
        fill_delete(response, deleted)
        return response

    async def txn(self, encoded: bytes) -> pb.TxnResponse:
        """Takes the request as it came."""
        txn = txn_of(decoded(pb.TxnRequest, encoded))
        check_size(encoded)
        result = await self._store.txn(txn)
        response = pb.TxnResponse()
        self._headers.fill(response.header, result.revision)
        fill_txn(response, result)
        return response

    async def compact(self, request: pb.CompactionRequest) -> pb.CompactionResponse:
        """physical says nothing here: what a compaction forgets is gone when it is answered."""
        await self._store.compact(request.revision)
        return pb.CompactionResponse(header=self._headers.now())

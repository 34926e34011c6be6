"""etcd's Auth service, as an etcd answers on which nobody has made a user: that is so for ever here.

Whom the store talks to is decided by who reaches its address. Making a user or a role is refused with etcd's
error for what a server is not able to do.
"""

from orchestra.etcdapi.errors import (
    AUTH_NOT_ENABLED,
    NOT_CAPABLE,
    PERMISSION_NOT_GIVEN,
    ROLE_EMPTY,
    ROLE_NOT_FOUND,
    ROOT_USER_NOT_EXIST,
    USER_EMPTY,
    USER_NOT_FOUND,
    EtcdError,
)
from orchestra.etcdapi.header import Headers
from orchestra.pb import etcd_auth_pb2 as pb


class AuthService:
    """Each method answers one request. Raises: EtcdError."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    async def enable(self, request: pb.AuthEnableRequest) -> pb.AuthEnableResponse:
        raise EtcdError(ROOT_USER_NOT_EXIST)

    async def disable(self, request: pb.AuthDisableRequest) -> pb.AuthDisableResponse:
        return pb.AuthDisableResponse(header=self._headers.now())

    async def status(self, request: pb.AuthStatusRequest) -> pb.AuthStatusResponse:
        return pb.AuthStatusResponse(header=self._headers.now(), enabled=False, authRevision=1)

    async def authenticate(self, request: pb.AuthenticateRequest) -> pb.AuthenticateResponse:
        raise EtcdError(AUTH_NOT_ENABLED)

    async def user_add(self, request: pb.AuthUserAddRequest) -> pb.AuthUserAddResponse:
        raise EtcdError(NOT_CAPABLE if request.name else USER_EMPTY)

    async def user_list(self, request: pb.AuthUserListRequest) -> pb.AuthUserListResponse:
        return pb.AuthUserListResponse(header=self._headers.now())

    async def unknown_user(self, request: object) -> None:
        """What is asked about, or for, a user who does not exist."""
        raise EtcdError(USER_NOT_FOUND)

    async def role_add(self, request: pb.AuthRoleAddRequest) -> pb.AuthRoleAddResponse:
        raise EtcdError(NOT_CAPABLE if request.name else ROLE_EMPTY)

    async def role_list(self, request: pb.AuthRoleListRequest) -> pb.AuthRoleListResponse:
        return pb.AuthRoleListResponse(header=self._headers.now())

    async def role_grant(
        self, request: pb.AuthRoleGrantPermissionRequest
    ) -> pb.AuthRoleGrantPermissionResponse:
        raise EtcdError(ROLE_NOT_FOUND if request.HasField("perm") else PERMISSION_NOT_GIVEN)

    async def unknown_role(self, request: object) -> None:
        """What is asked about, or for, a role that does not exist."""
        raise EtcdError(ROLE_NOT_FOUND)

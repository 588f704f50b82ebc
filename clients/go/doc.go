package featsvc

import (
	_ "featsvc/gen/featsvc/v1"

	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	_ "google.golang.org/grpc"
)

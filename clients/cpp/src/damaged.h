/// The error for answers that cannot be read.
#pragma once

#include "featsvc/error.h"

namespace featsvc {

inline Error damaged(const std::string& how) {
  return Error(grpc::StatusCode::INTERNAL, "the answer cannot be read: " + how);
}

}  // namespace featsvc

/// @file
/// What a failed call says.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include <grpcpp/support/status_code_enum.h>

namespace featsvc {

/// One bad field of a request.
struct Violation {
  /// Its path in the request, with dots between and indices in brackets.
  std::string field;
  /// What is wrong with it.
  std::string description;
};

/// Why a call, or one question of a stream, has no answer.
class Error : public std::runtime_error {
 public:
  /// `text` says what is wrong, and what would mend it.
  Error(grpc::StatusCode status, const std::string& text);

  grpc::StatusCode code;
  /// What is wrong, as the server says it.
  std::string message;
  /// The bad fields, where the server names them.
  std::vector<Violation> violations;
  /// When the server expects to have a place, where it says so; else 0.
  std::chrono::milliseconds retry_after{0};
  /// Finds the call in the server's log.
  std::string request_id;
  /// Whether the server says that another try will not help, though the code alone would allow it.
  bool is_final = false;
};

/// Name of a status, such as INVALID_ARGUMENT.
std::string name_of(grpc::StatusCode code);

}  // namespace featsvc

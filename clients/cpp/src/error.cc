#include "featsvc/error.h"

#include <algorithm>
#include <cstdlib>

#include "connection.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace featsvc {
namespace {

constexpr const char* NAMES[] = {
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

std::string first(const grpc::ClientContext& context, const char* key) {
  const auto& trailer = context.GetServerTrailingMetadata();
  const auto found = trailer.find(key);
  return found == trailer.end() ? "" : std::string(found->second.data(), found->second.size());
}

/// Reads a number of milliseconds, but for nonsense.
std::chrono::milliseconds milliseconds(const std::string& text) {
  const bool is_number = !text.empty() && text.size() < 10 && std::all_of(text.begin(), text.end(), [](unsigned char each) {
    return '0' <= each && each <= '9';
  });
  return std::chrono::milliseconds(is_number ? std::atol(text.c_str()) : 0);
}

}  // namespace

Error::Error(grpc::StatusCode status, const std::string& text)
    : std::runtime_error("featsvc: " + name_of(status) + ": " + text), code(status), message(text) {}

std::string name_of(grpc::StatusCode code) {
  return code >= 0 && static_cast<std::size_t>(code) < std::size(NAMES) ? NAMES[code] : std::to_string(code);
}

Error error_of(const grpc::Status& status, const grpc::ClientContext& context) {
  Error error(status.error_code(), status.error_message());
  error.request_id = first(context, "x-request-id");
  error.retry_after = milliseconds(first(context, "retry-after-ms"));
  google::rpc::Status said;
  google::rpc::BadRequest bad;
  if (said.ParseFromString(status.error_details())) {
    for (const auto& detail : said.details()) {
      if (!detail.Is<google::rpc::BadRequest>() || !detail.UnpackTo(&bad)) continue;
      for (const auto& each : bad.field_violations()) error.violations.push_back({each.field(), each.description()});
    }
  }
  // The server gives a reason where no other try will help, whatever the code; gRPC has only words for its own limits.
  error.is_final = !first(context, "featsvc-reason").empty() ||
                   error.message.find("message larger than max") != std::string::npos;
  return error;
}

Error error_of(const v1::ItemError& item) {
  const auto* const name = std::find(std::begin(NAMES), std::end(NAMES), item.code());
  const bool is_known = name != std::end(NAMES);
  Error error(is_known ? static_cast<grpc::StatusCode>(name - NAMES) : grpc::StatusCode::UNKNOWN, item.message());
  error.retry_after = std::chrono::milliseconds(item.retry_after_ms());
  for (const auto& each : item.field_violations()) error.violations.push_back({each.field(), each.description()});
  error.is_final = !item.reason().empty() ||
                   (error.code == grpc::StatusCode::RESOURCE_EXHAUSTED && item.retry_after_ms() == 0);
  return error;
}

}  // namespace featsvc

/// What all calls share.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include <grpcpp/grpcpp.h>

#include "featsvc/client.h"
#include "featsvc/v1/clip.grpc.pb.h"
#include "featsvc/v1/dino.grpc.pb.h"
#include "featsvc/v1/estimate.grpc.pb.h"
#include "featsvc/v1/model.grpc.pb.h"
#include "featsvc/v1/objects.grpc.pb.h"
#include "featsvc/v1/sam2.grpc.pb.h"

namespace featsvc {

/// What gRPC says about a call that has ended.
Error error_of(const grpc::Status& status, const grpc::ClientContext& context);

/// The same of one question of a stream.
Error error_of(const v1::ItemError& error);

struct Connection {
  std::unique_ptr<v1::ClipService::Stub> clip;
  std::unique_ptr<v1::DinoService::Stub> dino;
  std::unique_ptr<v1::Sam2Service::Stub> sam2;
  std::unique_ptr<v1::ObjectService::Stub> objects;
  std::unique_ptr<v1::ModelService::Stub> models;
  std::unique_ptr<v1::EstimateService::Stub> estimates;
  std::string authorization;
  std::chrono::milliseconds timeout;
  RetryPolicy retry;
  int priority;

  /// When a call that begins now ends.
  Deadline deadline(const Timeout& given) const {
    const std::chrono::milliseconds time = given.value_or(timeout);
    return time.count() == 0 ? Deadline() : std::chrono::system_clock::now() + time;
  }

  void prepare(grpc::ClientContext& context, const Deadline& deadline) const {
    context.AddMetadata("authorization", authorization);
    if (priority != 0) context.AddMetadata("x-featsvc-priority", std::to_string(priority));
    if (deadline) context.set_deadline(*deadline);
  }

  /// The result of the first attempt that succeeds; throws the error of the last where another is of no use.
  template <class Attempt>
  auto tried(const Timeout& timeout, Attempt attempt) const {
    const Deadline end = deadline(timeout);
    for (int failed = 1;; ++failed) {
      std::chrono::microseconds pause;
      try {
        grpc::ClientContext context;
        prepare(context, end);
        return attempt(context);
      } catch (const Error& error) {
        const auto found = retry.pause(end, failed, error);
        if (!found) throw;
        pause = *found;
      }
      std::this_thread::sleep_for(pause);
    }
  }
};

}  // namespace featsvc

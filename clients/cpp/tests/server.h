/// A server that answers as a test says.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "featsvc/featsvc.h"
#include "featsvc/v1/dino.grpc.pb.h"
#include "featsvc/v1/sam2.grpc.pb.h"

namespace featsvc {

using Request = v1::DinoServiceExtractFeaturesRequest;
using Response = v1::DinoServiceExtractFeaturesResponse;
using Piece = v1::DinoServiceExtractFeaturesChunkedResponse;
using StreamRequest = v1::DinoServiceExtractFeaturesStreamRequest;
using StreamResponse = v1::DinoServiceExtractFeaturesStreamResponse;
using Both = grpc::ServerReaderWriter<StreamResponse, StreamRequest>;
using std::chrono::milliseconds;

/// What the server does; tests set what they are about.
struct Script {
  std::function<grpc::Status(grpc::ServerContext&, const Request&, Response&)> extract;
  std::function<grpc::Status(grpc::ServerWriter<Piece>&)> chunked;
  std::function<grpc::Status(Both&)> stream;
  std::function<grpc::Status(grpc::ServerWriter<v1::GenerateMasksStreamResponse>&)> masks;
};

/// Serves on a free loopback port as long as it lives.
class Server : v1::DinoService::Service, v1::Sam2Service::Service {
 public:
  explicit Server(Script script, std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials())
      : script_(std::move(script)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", std::move(credentials), &port_);
    builder.SetMaxReceiveMessageSize(-1);
    builder.RegisterService(static_cast<v1::DinoService::Service*>(this));
    builder.RegisterService(static_cast<v1::Sam2Service::Service*>(this));
    server_ = builder.BuildAndStart();
  }
  ~Server() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  grpc::Status ExtractFeatures(grpc::ServerContext* context, const Request* request, Response* reply) override {
    return script_.extract(*context, *request, *reply);
  }
  grpc::Status ExtractFeaturesChunked(grpc::ServerContext*, const v1::DinoServiceExtractFeaturesChunkedRequest*,
                                      grpc::ServerWriter<Piece>* out) override {
    return script_.chunked(*out);
  }
  grpc::Status ExtractFeaturesStream(grpc::ServerContext*, Both* both) override { return script_.stream(*both); }
  grpc::Status GenerateMasksStream(grpc::ServerContext*, const v1::GenerateMasksStreamRequest*,
                                   grpc::ServerWriter<v1::GenerateMasksStreamResponse>* out) override {
    return script_.masks(*out);
  }

  Script script_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

/// Retries without waiting long, and ends in any case.
inline Options quick() {
  Options options;
  options.retry = {5, milliseconds(1), milliseconds(5), 2, 0};
  options.timeout = std::chrono::minutes(1);
  return options;
}

/// A reply with features of the shape 1 x 1 x D.
inline Response floats_of(const std::string& values) {
  Response reply;
  reply.mutable_features()->set_dtype(v1::D_TYPE_UINT8);
  for (const std::size_t each : {std::size_t{1}, std::size_t{1}, values.size()}) {
    reply.mutable_features()->add_shape(static_cast<std::uint32_t>(each));
  }
  reply.mutable_features()->set_data(values);
  return reply;
}

inline const grpc::Status REFUSED(grpc::StatusCode::UNAVAILABLE, "refused");

}  // namespace featsvc

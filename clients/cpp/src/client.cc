#include "featsvc/client.h"

#include <fstream>
#include <iterator>
#include <system_error>

#include "connection.h"

namespace featsvc {
namespace {

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::system_error(errno, std::generic_category(), path);
  std::string content{std::istreambuf_iterator<char>(file), {}};
  // A folder opens, and fails only here.
  if (file.bad()) throw std::system_error(errno, std::generic_category(), path);
  return content;
}

std::shared_ptr<grpc::ChannelCredentials> credentials(const std::optional<Tls>& tls) {
  if (!tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  if (!tls->ca.empty()) options.pem_root_certs = content_of(tls->ca);
  if (!tls->certificate.empty()) {
    options.pem_cert_chain = content_of(tls->certificate);
    options.pem_private_key = content_of(tls->key);
  }
  return grpc::SslCredentials(options);
}

/// A call of one message each way.
template <class Stub, class Q, class R>
R asked(const Connection& connection, Stub* stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Q&, R*),
        const Q& request, const Timeout& timeout) {
  return connection.tried(timeout, [&](grpc::ClientContext& context) {
    R reply;
    const grpc::Status status = (stub->*method)(&context, request, &reply);
    if (!status.ok()) throw error_of(status, context);
    return reply;
  });
}

}  // namespace

v1::Image picture(std::string content) {
  v1::Image image;
  image.set_content(std::move(content));
  return image;
}

v1::Image picture_file(const std::string& path) { return picture(content_of(path)); }

Client::Client(const std::string& address, Options options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.max_message_bytes);
  arguments.SetMaxSendMessageSize(options.max_message_bytes);
  // gRPC's own second before it connects again would make quick retries fail without trying.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000);
  // Each client has its own connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto channel = grpc::CreateCustomChannel(address, credentials(options.tls), arguments);
  connection_ = std::make_shared<const Connection>(Connection{
      v1::ClipService::NewStub(channel), v1::DinoService::NewStub(channel), v1::Sam2Service::NewStub(channel),
      v1::ObjectService::NewStub(channel), v1::ModelService::NewStub(channel), v1::EstimateService::NewStub(channel),
      "Bearer " + options.api_key, options.timeout, options.retry, options.priority});
}

Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

v1::ClipServiceExtractFeaturesResponse Client::clip_features_at_once(
    const v1::ClipServiceExtractFeaturesRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->clip.get(), &v1::ClipService::Stub::ExtractFeatures, request, timeout);
}

v1::EncodeTextResponse Client::encode_text(const v1::EncodeTextRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->clip.get(), &v1::ClipService::Stub::EncodeText, request, timeout);
}

v1::ComputeSimilarityResponse Client::compute_similarity(
    const v1::ComputeSimilarityRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->clip.get(), &v1::ClipService::Stub::ComputeSimilarity, request, timeout);
}

v1::EncodeImageResponse Client::encode_image(const v1::EncodeImageRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->clip.get(), &v1::ClipService::Stub::EncodeImage, request, timeout);
}

v1::EmbedPyramidResponse Client::embed_pyramid_at_once(const v1::EmbedPyramidRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->clip.get(), &v1::ClipService::Stub::EmbedPyramid, request, timeout);
}

v1::DinoServiceExtractFeaturesResponse Client::dino_features_at_once(
    const v1::DinoServiceExtractFeaturesRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->dino.get(), &v1::DinoService::Stub::ExtractFeatures, request, timeout);
}

v1::GenerateMasksResponse Client::generate_masks_at_once(
    const v1::GenerateMasksRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->sam2.get(), &v1::Sam2Service::Stub::GenerateMasks, request, timeout);
}

v1::PredictMasksResponse Client::predict_masks(const v1::PredictMasksRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->sam2.get(), &v1::Sam2Service::Stub::PredictMasks, request, timeout);
}

v1::EmbedImageResponse Client::embed_image(const v1::EmbedImageRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->sam2.get(), &v1::Sam2Service::Stub::EmbedImage, request, timeout);
}

v1::DescribeObjectsResponse Client::describe_objects(
    const v1::DescribeObjectsRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->objects.get(), &v1::ObjectService::Stub::DescribeObjects, request, timeout);
}

v1::FindObjectsResponse Client::find_objects(const v1::FindObjectsRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->objects.get(), &v1::ObjectService::Stub::FindObjects, request, timeout);
}

v1::GetCallerResponse Client::get_caller(const v1::GetCallerRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->models.get(), &v1::ModelService::Stub::GetCaller, request, timeout);
}

v1::ListModelsResponse Client::list_models(const v1::ListModelsRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->models.get(), &v1::ModelService::Stub::ListModels, request, timeout);
}

v1::LoadModelResponse Client::load_model(const v1::LoadModelRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->models.get(), &v1::ModelService::Stub::LoadModel, request, timeout);
}

v1::UnloadModelResponse Client::unload_model(const v1::UnloadModelRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->models.get(), &v1::ModelService::Stub::UnloadModel, request, timeout);
}

v1::DrainResponse Client::drain(const v1::DrainRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->models.get(), &v1::ModelService::Stub::Drain, request, timeout);
}

v1::EstimateResponse Client::estimate(const v1::EstimateRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->estimates.get(), &v1::EstimateService::Stub::Estimate, request, timeout);
}

v1::GetStatusResponse Client::get_status(const v1::GetStatusRequest& request, Timeout timeout) const {
  return asked(*connection_, connection_->models.get(), &v1::ModelService::Stub::GetStatus, request, timeout);
}

}  // namespace featsvc

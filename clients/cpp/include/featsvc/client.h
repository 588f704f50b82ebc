/// @file
/// The connection to a server.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "featsvc/retry.h"
#include "featsvc/stream.h"
#include "featsvc/v1/clip.pb.h"
#include "featsvc/v1/dino.pb.h"
#include "featsvc/v1/estimate.pb.h"
#include "featsvc/v1/model.pb.h"
#include "featsvc/v1/objects.pb.h"
#include "featsvc/v1/sam2.pb.h"

namespace featsvc {

struct Connection;

/// PEM files of a connection with TLS.
struct Tls {
  /// Of the authority that signed the server's certificate; empty: those that the machine trusts.
  std::string ca;
  /// The client's own, for servers that ask for them.
  std::string certificate, key;
};

/// How to connect. What it begins with is good for a server on this machine.
struct Options {
  /// Sent with every call; at first that of a server on loopback that was given none of its own.
  std::string api_key = "smfeats";
  /// Makes the connection one with TLS.
  std::optional<Tls> tls;
  /// Time for each call, all its attempts included, where the call names none; 0: no limit.
  std::chrono::milliseconds timeout{0};
  /// How urgent its calls are beside others with the same key, from -9 to 9: higher ones come first.
  int priority = 0;
  /// Limit for messages in both directions; -1 leaves the limits to the server.
  int max_message_bytes = -1;
  RetryPolicy retry;
};

/// Time for one call; none: that of the options.
using Timeout = std::optional<std::chrono::milliseconds>;

/// The picture in a file: JPEG, PNG, WebP or another format that the server allows.
v1::Image picture_file(const std::string& path);

/// The picture in the bytes of such a file.
v1::Image picture(std::string content);

/// A connection, closed when the last stream over it and the client are gone. Threads may share it. Calls block and throw
/// Error.
class Client {
 public:
  /// Prepares a connection to host:port. The first call opens it. Throws std::system_error where a file cannot be read.
  explicit Client(const std::string& address, Options options = {});
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  /// @name CLIP
  /// Features come in pieces, which suits answers of any size; `…_at_once` asks for one message.
  /// @{
  v1::ClipServiceExtractFeaturesResponse clip_features(
      const v1::ClipServiceExtractFeaturesRequest& request, Timeout timeout = {}) const;
  v1::ClipServiceExtractFeaturesResponse clip_features_at_once(
      const v1::ClipServiceExtractFeaturesRequest& request, Timeout timeout = {}) const;
  v1::EncodeTextResponse encode_text(const v1::EncodeTextRequest& request, Timeout timeout = {}) const;
  v1::ComputeSimilarityResponse compute_similarity(
      const v1::ComputeSimilarityRequest& request, Timeout timeout = {}) const;
  v1::EncodeImageResponse encode_image(const v1::EncodeImageRequest& request, Timeout timeout = {}) const;
  v1::EmbedPyramidResponse embed_pyramid(const v1::EmbedPyramidRequest& request, Timeout timeout = {}) const;
  v1::EmbedPyramidResponse embed_pyramid_at_once(const v1::EmbedPyramidRequest& request, Timeout timeout = {}) const;
  /// @}

  /// @name DINO
  /// @{
  v1::DinoServiceExtractFeaturesResponse dino_features(
      const v1::DinoServiceExtractFeaturesRequest& request, Timeout timeout = {}) const;
  v1::DinoServiceExtractFeaturesResponse dino_features_at_once(
      const v1::DinoServiceExtractFeaturesRequest& request, Timeout timeout = {}) const;
  /// @}

  /// @name SAM2
  /// Automatic masks come in a message each, which suits any number of them; `…_at_once` asks for one message.
  /// @{
  v1::GenerateMasksResponse generate_masks(const v1::GenerateMasksRequest& request, Timeout timeout = {}) const;
  v1::GenerateMasksResponse generate_masks_at_once(
      const v1::GenerateMasksRequest& request, Timeout timeout = {}) const;
  v1::PredictMasksResponse predict_masks(const v1::PredictMasksRequest& request, Timeout timeout = {}) const;
  v1::EmbedImageResponse embed_image(const v1::EmbedImageRequest& request, Timeout timeout = {}) const;
  /// @}

  /// @name Objects
  /// @{
  v1::DescribeObjectsResponse describe_objects(const v1::DescribeObjectsRequest& request, Timeout timeout = {}) const;
  v1::FindObjectsResponse find_objects(const v1::FindObjectsRequest& request, Timeout timeout = {}) const;
  /// @}

  /// @name Streams
  /// Ask about many pictures, each under the caller's own name, with at most `window` of them under way. Answers come as
  /// they are done; what is wrong with one picture is its answer. The timeout is that of the whole stream.
  /// @{
  Answers<v1::ClipServiceExtractFeaturesResponse> stream_clip_features(
      Questions<v1::ClipServiceExtractFeaturesRequest> questions, std::size_t window = 8, Timeout timeout = {}) const;
  Answers<v1::DinoServiceExtractFeaturesResponse> stream_dino_features(
      Questions<v1::DinoServiceExtractFeaturesRequest> questions, std::size_t window = 8, Timeout timeout = {}) const;
  Answers<v1::EmbedPyramidResponse> stream_embed_pyramid(
      Questions<v1::EmbedPyramidRequest> questions, std::size_t window = 8, Timeout timeout = {}) const;
  Answers<v1::PredictMasksResponse> stream_predict_masks(
      Questions<v1::PredictMasksRequest> questions, std::size_t window = 8, Timeout timeout = {}) const;
  Answers<v1::DescribeObjectsResponse> stream_describe_objects(
      Questions<v1::DescribeObjectsRequest> questions, std::size_t window = 8, Timeout timeout = {}) const;
  Answers<v1::FindObjectsResponse> stream_find_objects(
      Questions<v1::FindObjectsRequest> questions, std::size_t window = 8, Timeout timeout = {}) const;
  /// @}

  /// @name Models
  /// @{
  v1::GetCallerResponse get_caller(const v1::GetCallerRequest& request, Timeout timeout = {}) const;
  v1::ListModelsResponse list_models(const v1::ListModelsRequest& request, Timeout timeout = {}) const;
  v1::LoadModelResponse load_model(const v1::LoadModelRequest& request, Timeout timeout = {}) const;
  v1::UnloadModelResponse unload_model(const v1::UnloadModelRequest& request, Timeout timeout = {}) const;
  v1::DrainResponse drain(const v1::DrainRequest& request, Timeout timeout = {}) const;
  v1::GetStatusResponse get_status(const v1::GetStatusRequest& request, Timeout timeout = {}) const;
  /// What a question would cost, and how long it would wait, without asking it.
  v1::EstimateResponse estimate(const v1::EstimateRequest& request, Timeout timeout = {}) const;
  /// @}

 private:
  std::shared_ptr<const Connection> connection_;
};

}  // namespace featsvc

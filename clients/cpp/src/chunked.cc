#include <cstring>

#include "connection.h"
#include "damaged.h"
#include "layout.h"

namespace featsvc {
namespace {

/// A stream of messages from the server, which ends with the call.
template <class M>
class Incoming {
 public:
  Incoming(grpc::ClientContext& context, std::unique_ptr<grpc::ClientReader<M>> reader)
      : context_(context), reader_(std::move(reader)) {}
  Incoming(const Incoming&) = delete;
  Incoming& operator=(const Incoming&) = delete;

  ~Incoming() {
    if (is_over_) return;
    context_.TryCancel();
    reader_->Finish();
  }

  /// The next message; false at the end. Throws the call's error.
  bool next(M& message) {
    if (reader_->Read(&message)) return true;
    is_over_ = true;
    const grpc::Status status = reader_->Finish();
    if (!status.ok()) throw error_of(status, context_);
    return false;
  }

 private:
  grpc::ClientContext& context_;
  std::unique_ptr<grpc::ClientReader<M>> reader_;
  bool is_over_ = false;
};

/// Receives the data of a tensor that has none yet into one piece of memory.
template <class M>
void fill(v1::Tensor& tensor, Incoming<M>& incoming) {
  const std::size_t size = layout(tensor).bytes;
  std::string& data = *tensor.mutable_data();
  std::size_t at = data.size();
  if (data.empty()) data.resize(size);
  for (M message; incoming.next(message);) {
    const std::string& piece = message.chunk().data();
    if (!message.has_chunk() || message.chunk().offset() != at || at > size || piece.size() > size - at) {
      throw damaged(std::to_string(piece.size()) + " bytes came for " + std::to_string(message.chunk().offset()) + " where " +
                    std::to_string(at) + " to " + std::to_string(size) + " were due");
    }
    std::memcpy(&data[at], piece.data(), piece.size());
    at += piece.size();
  }
  if (at != size) throw damaged("it ended after " + std::to_string(at) + " of " + std::to_string(size) + " bytes");
}

/// Asks until it has the whole answer, and puts the data into the tensor that it belongs to.
template <class Stub, class W, class M, class Q>
auto joined(const Connection& connection, Stub* stub,
            std::unique_ptr<grpc::ClientReader<M>> (Stub::*method)(grpc::ClientContext*, const W&), const Q& request,
            const Timeout& timeout) {
  W question;
  *question.mutable_request() = request;
  return connection.tried(timeout, [&](grpc::ClientContext& context) {
    Incoming<M> incoming(context, (stub->*method)(&context, question));
    M begin;
    if (!incoming.next(begin)) throw damaged("it ended before it was whole");
    if (!begin.has_reply()) throw damaged("it began with a piece");
    auto whole = std::move(*begin.mutable_reply());
    fill(*whole.mutable_features(), incoming);
    return whole;
  });
}

/// All masks of a stream and what its summary says.
v1::GenerateMasksResponse listed(Incoming<v1::GenerateMasksStreamResponse>& incoming) {
  v1::GenerateMasksResponse reply;
  for (v1::GenerateMasksStreamResponse message; incoming.next(message);) {
    if (message.has_mask()) {
      *reply.add_masks() = std::move(*message.mutable_mask());
      continue;
    }
    v1::MasksSummary& summary = *message.mutable_summary();
    if (static_cast<std::size_t>(reply.masks_size()) != summary.count()) {
      throw damaged(std::to_string(reply.masks_size()) + " of " + std::to_string(summary.count()) + " masks came");
    }
    reply.set_height(summary.height());
    reply.set_width(summary.width());
    reply.set_model(summary.model());
    reply.set_image_digest(summary.image_digest());
    reply.set_image_orientation(summary.image_orientation());
    if (summary.has_label_map()) *reply.mutable_label_map() = std::move(*summary.mutable_label_map());
    // What comes after the summary is how the call ended.
    incoming.next(message);
    return reply;
  }
  throw damaged("it ended before it was whole");
}

}  // namespace

v1::ClipServiceExtractFeaturesResponse Client::clip_features(
    const v1::ClipServiceExtractFeaturesRequest& request, Timeout timeout) const {
  return joined(*connection_, connection_->clip.get(), &v1::ClipService::Stub::ExtractFeaturesChunked, request, timeout);
}

v1::DinoServiceExtractFeaturesResponse Client::dino_features(
    const v1::DinoServiceExtractFeaturesRequest& request, Timeout timeout) const {
  return joined(*connection_, connection_->dino.get(), &v1::DinoService::Stub::ExtractFeaturesChunked, request, timeout);
}

v1::EmbedPyramidResponse Client::embed_pyramid(const v1::EmbedPyramidRequest& request, Timeout timeout) const {
  return joined(*connection_, connection_->clip.get(), &v1::ClipService::Stub::EmbedPyramidChunked, request, timeout);
}

v1::GenerateMasksResponse Client::generate_masks(const v1::GenerateMasksRequest& request, Timeout timeout) const {
  v1::GenerateMasksStreamRequest question;
  *question.mutable_request() = request;
  return connection_->tried(timeout, [&](grpc::ClientContext& context) {
    Incoming<v1::GenerateMasksStreamResponse> incoming(context, connection_->sam2->GenerateMasksStream(&context, question));
    return listed(incoming);
  });
}

}  // namespace featsvc

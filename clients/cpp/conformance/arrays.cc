#include "arrays.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include <openssl/evp.h>

namespace conformance {
namespace {

constexpr std::size_t SAMPLES = 16;

template <class T>
constexpr const char* name_of_type() {
  if (std::is_same_v<T, float>) return "float32";
  return std::is_same_v<T, bool> ? "bool" : "uint16";
}

/// SHA-256 of the little-endian bytes of the elements.
template <class T>
std::string digest(const std::vector<T>& values) {
  std::string bytes;
  bytes.reserve(values.size() * sizeof(T));
  for (const T each : values) {
    std::uint32_t bits = 0;
    if constexpr (std::is_same_v<T, float>) {
      std::memcpy(&bits, &each, sizeof bits);
    } else {
      bits = each;
    }
    for (std::size_t i = 0; i < sizeof(T); ++i) bytes.push_back(static_cast<char>(bits >> (8 * i) & 0xff));
  }
  unsigned char sum[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(bytes.data(), bytes.size(), sum, &size, EVP_sha256(), nullptr);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    text += "0123456789abcdef"[sum[i] >> 4];
    text += "0123456789abcdef"[sum[i] & 15];
  }
  return text;
}

/// Describes an array as the client gives it, and the form in which it travelled.
template <class T>
void describe(Struct& arrays, const std::string& name, const std::string& form, const featsvc::Array<T>& array) {
  Struct& about = *(*arrays.mutable_fields())[name].mutable_struct_value();
  set(about, "sent", form);
  set(about, "dtype", name_of_type<T>());
  set(about, "sha256", digest(array.values));
  auto& shape = *(*about.mutable_fields())["shape"].mutable_list_value();
  for (const std::size_t each : array.shape) shape.add_values()->set_number_value(static_cast<double>(each));
  if constexpr (std::is_same_v<T, float>) {
    const std::size_t count = std::min(SAMPLES, array.values.size());
    auto& sample = *(*about.mutable_fields())["sample"].mutable_list_value();
    for (std::size_t i = 0; i < count; ++i) {
      sample.add_values()->set_number_value(array.values[i * array.values.size() / count]);
    }
  } else {
    const auto area = std::count_if(array.values.begin(), array.values.end(), [](auto each) { return each != 0; });
    (*about.mutable_fields())["area"].set_number_value(static_cast<double>(area));
  }
}

/// Name of a tensor's element type.
std::string form(const Tensor& tensor) {
  std::string name = DType_Name(tensor.dtype()).substr(std::strlen("D_TYPE_"));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char each) { return std::tolower(each); });
  return name;
}

std::string form(const Rle& rle) { return rle.has_lengths() ? "lengths" : "coco"; }

template <class Reply>
Struct dense(const Reply& reply) {
  Struct found;
  describe(found, "features", form(reply.features()), featsvc::features(reply));
  return found;
}

Struct plain(const std::string& name, const Tensor& tensor) {
  Struct found;
  describe(found, name, form(tensor), featsvc::floats(tensor));
  return found;
}

void describe_mask(Struct& arrays, int at, const Mask& each) {
  const std::string sent = each.has_bitmap() ? form(each.bitmap()) : each.has_rle() ? form(each.rle()) : "png";
  describe(arrays, std::to_string(at) + ".mask", sent, featsvc::mask(each));
}

void describe_labels(Struct& arrays, const std::string& name, const Tensor& labels) {
  describe(arrays, name, form(labels), featsvc::decoded<std::uint16_t>(labels));
}

/// The masks of objects.
template <class Reply>
Struct masks_of_objects(const Reply& reply) {
  Struct found;
  if (reply.has_label_map()) {
    describe_labels(found, "label_map", reply.label_map());
  } else {
    for (int i = 0; i < reply.objects_size(); ++i) describe_mask(found, i, reply.objects(i).mask());
  }
  return found;
}

}  // namespace

void set(Struct& object, const std::string& name, const std::string& value) {
  (*object.mutable_fields())[name].set_string_value(value);
}

Struct arrays(const ClipServiceExtractFeaturesResponse& reply) { return dense(reply); }
Struct arrays(const DinoServiceExtractFeaturesResponse& reply) { return dense(reply); }
Struct arrays(const EmbedPyramidResponse& reply) { return dense(reply); }
Struct arrays(const EncodeTextResponse& reply) { return plain("embeddings", reply.text_embedding()); }
Struct arrays(const EncodeImageResponse& reply) { return plain("embeddings", reply.image_embedding()); }
Struct arrays(const ComputeSimilarityResponse& reply) { return plain("similarity", reply.similarity_map()); }

Struct arrays(const GenerateMasksResponse& reply) {
  Struct found;
  if (reply.has_label_map()) {
    describe_labels(found, "label_map", reply.label_map());
    return found;
  }
  for (int i = 0; i < reply.masks_size(); ++i) describe_mask(found, i, reply.masks(i));
  return found;
}

Struct arrays(const DescribeObjectsResponse& reply) {
  Struct found = masks_of_objects(reply);
  for (int i = 0; i < reply.descriptors_size(); ++i) {
    const ObjectVectors& each = reply.descriptors(i);
    describe(found, std::to_string(i) + ".vectors", form(each.vectors()), featsvc::vectors(each));
  }
  return found;
}

Struct arrays(const FindObjectsResponse& reply) {
  Struct found = masks_of_objects(reply);
  for (int i = 0; i < reply.found_size(); ++i) {
    const auto& matches = reply.found(i).matches();
    featsvc::Array<std::uint16_t> indices{{static_cast<std::size_t>(matches.size())}, {}};
    featsvc::Array<float> scores{indices.shape, {}};
    for (const ObjectMatch& each : matches) {
      indices.values.push_back(static_cast<std::uint16_t>(each.object()));
      scores.values.push_back(static_cast<float>(each.score()));
    }
    describe(found, std::to_string(i) + ".objects", "uint16", indices);
    describe(found, std::to_string(i) + ".scores", "float32", scores);
  }
  if (reply.has_text_map()) describe_labels(found, "text_map", reply.text_map());
  return found;
}

Struct arrays(const EmbedImageResponse& reply) {
  Struct found;
  if (!reply.has_image_embed()) return found;
  describe(found, "image_embed", form(reply.image_embed()), featsvc::floats(reply.image_embed()));
  describe(found, "high_res_feats_0", form(reply.high_res_feats_0()), featsvc::floats(reply.high_res_feats_0()));
  describe(found, "high_res_feats_1", form(reply.high_res_feats_1()), featsvc::floats(reply.high_res_feats_1()));
  return found;
}

Struct arrays(const PredictMasksResponse& reply) {
  Struct found;
  for (int i = 0; i < reply.results_size(); ++i) {
    const PromptMasks& each = reply.results(i);
    const std::string at = std::to_string(i) + ".";
    if (each.has_label_map()) {
      describe_labels(found, at + "label_map", each.label_map());
    } else if (each.masks().dtype() == D_TYPE_FLOAT32) {
      describe(found, at + "masks", "float32", featsvc::floats(each.masks()));
    } else {
      const std::string sent = each.has_masks() ? form(each.masks()) : each.rle_size() > 0 ? form(each.rle(0)) : "png";
      describe(found, at + "masks", sent, featsvc::prompt_masks(each));
    }
    if (each.has_iou_predictions()) {
      describe(found, at + "iou_predictions", form(each.iou_predictions()), featsvc::floats(each.iou_predictions()));
    }
    if (each.has_low_res_masks()) {
      describe(found, at + "low_res_masks", form(each.low_res_masks()), featsvc::floats(each.low_res_masks()));
    }
  }
  return found;
}

}  // namespace conformance

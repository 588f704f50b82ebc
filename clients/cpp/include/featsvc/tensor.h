/// @file
/// Tensors as arrays.
#pragma once

#include <cstdint>

#include "featsvc/array.h"
#include "featsvc/error.h"
#include "featsvc/v1/objects.pb.h"
#include "featsvc/v1/tensor.pb.h"

namespace featsvc {

/// The elements of a tensor, for T of float (float16 and bfloat16 too), bool (bits too), std::uint8_t, std::int8_t,
/// std::uint16_t and std::int64_t. Throws Error where they are of another type.
template <class T>
Array<T> decoded(const v1::Tensor& tensor);

/// The elements of a tensor of any number type as float.
Array<float> floats(const v1::Tensor& tensor);

/// Dense features as float, of whatever type they were sent: int8 times the scale of their channel.
Array<float> features(const v1::Tensor& tensor, const v1::Rounding& rounding);

/// The dense features of a reply of CLIP or DINO, height x width x channels or as asked for, or the vectors of a pyramid.
template <class Reply>
Array<float> features(const Reply& reply) {
  return features(reply.features(), reply.rounding());
}

/// The vectors of all objects in one way as float, objects x channels, of whatever type they were sent.
inline Array<float> vectors(const v1::ObjectVectors& way) { return features(way.vectors(), way.rounding()); }

}  // namespace featsvc

#include "featsvc/tensor.h"

#include <cstring>
#include <limits>

#include "damaged.h"
#include "layout.h"

namespace featsvc {
namespace {

using v1::DType;

/// Number of that many bytes, little-endian whatever this machine is.
template <class T>
T little(const unsigned char* data) {
  std::make_unsigned_t<T> number = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    number |= static_cast<std::make_unsigned_t<T>>(static_cast<std::make_unsigned_t<T>>(data[i]) << (8 * i));
  }
  return static_cast<T>(number);
}

float from_bits(std::uint32_t bits) {
  static_assert(sizeof(float) == 4 && std::numeric_limits<float>::is_iec559);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// The float equal to an IEEE 754 binary16.
float widened(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16;
  const std::uint32_t exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
  if (exponent == 0) {
    // Zero and subnormals: the fraction counts in units of 2^-24, which float has exactly.
    const float value = static_cast<float>(fraction) * (1.0f / (1 << 24));
    return sign != 0 ? -value : value;
  }
  if (exponent == 31) return from_bits(sign | 0x7f800000 | fraction << 13);
  return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/// Reads bits, most significant first, each row of the last axis from a new byte.
void unpack(Array<bool>& array, const unsigned char* data) {
  const std::size_t columns = array.shape.empty() ? 1 : array.shape.back();
  const std::size_t stride = (columns + 7) / 8;
  for (std::size_t row = 0; row * columns < array.values.size(); ++row, data += stride) {
    for (std::size_t column = 0; column < columns; ++column) {
      array.values[row * columns + column] = data[column / 8] >> (7 - column % 8) & 1;
    }
  }
}

bool fill(Array<float>& array, DType dtype, const unsigned char* data) {
  for (float& each : array.values) {
    switch (dtype) {
      case v1::D_TYPE_FLOAT32: each = from_bits(little<std::uint32_t>(data)), data += 4; break;
      case v1::D_TYPE_BFLOAT16: each = from_bits(std::uint32_t{little<std::uint16_t>(data)} << 16), data += 2; break;
      case v1::D_TYPE_FLOAT16: each = widened(little<std::uint16_t>(data)), data += 2; break;
      default: return false;
    }
  }
  return dtype == v1::D_TYPE_FLOAT32 || dtype == v1::D_TYPE_BFLOAT16 || dtype == v1::D_TYPE_FLOAT16;
}

bool fill(Array<bool>& array, DType dtype, const unsigned char* data) {
  if (dtype == v1::D_TYPE_BITS) return unpack(array, data), true;
  if (dtype != v1::D_TYPE_BOOL) return false;
  for (unsigned char& each : array.values) each = *data++ != 0;
  return true;
}

template <class T>
constexpr DType type_of() {
  if (std::is_same_v<T, std::uint8_t>) return v1::D_TYPE_UINT8;
  if (std::is_same_v<T, std::int8_t>) return v1::D_TYPE_INT8;
  return std::is_same_v<T, std::uint16_t> ? v1::D_TYPE_UINT16 : v1::D_TYPE_INT64;
}

template <class T>
bool fill(Array<T>& array, DType dtype, const unsigned char* data) {
  if (dtype != type_of<T>()) return false;
  for (T& each : array.values) each = little<T>(data), data += sizeof(T);
  return true;
}

template <class T>
Array<float> converted(const v1::Tensor& tensor) {
  const Array<T> found = decoded<T>(tensor);
  return {found.shape, std::vector<float>(found.values.begin(), found.values.end())};
}

/// Integers times the factor of their channel: of the last axis, or of the first where the factors' shape says so.
Array<float> scaled(const v1::Tensor& tensor, const v1::Tensor& factors) {
  const Array<std::int8_t> integers = decoded<std::int8_t>(tensor);
  const Array<float> scale = decoded<float>(factors);
  const Shape& shape = integers.shape;
  // How many elements in a row share a factor: channels x 1 x 1 stands before, channels beside the last axis.
  const bool is_first = shape.size() > 1 && scale.shape.size() == shape.size() && scale.shape[0] != 1;
  const std::size_t axis = is_first || shape.empty() ? 0 : shape.size() - 1;
  if (shape.empty() || shape[axis] != scale.values.size()) {
    throw damaged(std::to_string(scale.values.size()) + " factors for features of shape " + text(shape));
  }
  const std::size_t each = is_first ? product(shape) / std::max<std::size_t>(shape[0], 1) : 1;
  Array<float> result{shape, std::vector<float>(integers.values.size())};
  for (std::size_t at = 0; at < result.values.size(); ++at) {
    result.values[at] = static_cast<float>(integers.values[at]) * scale.values[at / each % scale.values.size()];
  }
  return result;
}

}  // namespace

template <class T>
Array<T> decoded(const v1::Tensor& tensor) {
  const Layout found = layout(tensor);
  if (tensor.data().size() != found.bytes) {
    throw damaged(std::to_string(tensor.data().size()) + " bytes, but " + v1::DType_Name(tensor.dtype()) + " of shape " +
                  text(found.shape) + " takes " + std::to_string(found.bytes));
  }
  // Bits of a shape with an axis of 0 have no bytes, whatever the other axes say.
  Array<T> array{found.shape, std::vector<Stored<T>>(product(found.shape))};
  if (!fill(array, tensor.dtype(), reinterpret_cast<const unsigned char*>(tensor.data().data()))) {
    throw damaged("a tensor of " + v1::DType_Name(tensor.dtype()) + " was to be read as another type");
  }
  return array;
}

template Array<float> decoded(const v1::Tensor&);
template Array<bool> decoded(const v1::Tensor&);
template Array<std::uint8_t> decoded(const v1::Tensor&);
template Array<std::int8_t> decoded(const v1::Tensor&);
template Array<std::uint16_t> decoded(const v1::Tensor&);
template Array<std::int64_t> decoded(const v1::Tensor&);

Array<float> floats(const v1::Tensor& tensor) {
  switch (tensor.dtype()) {
    case v1::D_TYPE_UINT8: return converted<std::uint8_t>(tensor);
    case v1::D_TYPE_INT8: return converted<std::int8_t>(tensor);
    case v1::D_TYPE_UINT16: return converted<std::uint16_t>(tensor);
    case v1::D_TYPE_INT64: return converted<std::int64_t>(tensor);
    default: return decoded<float>(tensor);
  }
}

Array<float> features(const v1::Tensor& tensor, const v1::Rounding& rounding) {
  return tensor.dtype() == v1::D_TYPE_INT8 ? scaled(tensor, rounding.scale()) : floats(tensor);
}

Layout layout(const v1::Tensor& tensor) {
  Layout found{Shape(tensor.shape().begin(), tensor.shape().end()), 1};
  switch (tensor.dtype()) {
    case v1::D_TYPE_FLOAT32: found.bytes = 4; break;
    case v1::D_TYPE_INT64: found.bytes = 8; break;
    case v1::D_TYPE_FLOAT16:
    case v1::D_TYPE_BFLOAT16:
    case v1::D_TYPE_UINT16: found.bytes = 2; break;
    case v1::D_TYPE_UINT8:
    case v1::D_TYPE_BOOL:
    case v1::D_TYPE_BITS:
    case v1::D_TYPE_INT8: break;
    default: throw damaged("a tensor of the unknown element type " + std::to_string(tensor.dtype()));
  }
  Shape stored = found.shape;
  if (tensor.dtype() == v1::D_TYPE_BITS && !stored.empty()) stored.back() = (stored.back() + 7) / 8;
  for (const std::size_t each : stored) {
    // Sizes come from outside; an eighth leaves room for the booleans of bits.
    if (each > 0 && found.bytes > std::numeric_limits<std::ptrdiff_t>::max() / 8 / each) {
      throw damaged("a tensor of shape " + text(found.shape));
    }
    found.bytes *= each;
  }
  return found;
}

std::size_t product(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::size_t{1}, std::multiplies<>());
}

std::string text(const Shape& shape) {
  std::string all = "[";
  for (const std::size_t each : shape) all += (all.size() > 1 ? " " : "") + std::to_string(each);
  return all + "]";
}

}  // namespace featsvc

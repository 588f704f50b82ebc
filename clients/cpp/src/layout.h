/// How tensors lie in memory.
#pragma once

#include <string>

#include "featsvc/array.h"
#include "featsvc/v1/tensor.pb.h"

namespace featsvc {

struct Layout {
  Shape shape;
  /// Length of the data.
  std::size_t bytes;
};

/// Shape of a tensor, and the length that its data should have.
Layout layout(const v1::Tensor& tensor);

/// Number of elements.
std::size_t product(const Shape& shape);

std::string text(const Shape& shape);

}  // namespace featsvc

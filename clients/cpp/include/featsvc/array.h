/// @file
/// Arrays and views of them.
#pragma once

#include <cassert>
#include <cstddef>
#include <functional>
#include <numeric>
#include <type_traits>
#include <vector>

namespace featsvc {

/// Size of each axis.
using Shape = std::vector<std::size_t>;

/// What holds a T in memory. A boolean is one byte, 0 or 1, because std::vector<bool> is not contiguous.
template <class T>
using Stored = std::conditional_t<std::is_same_v<T, bool>, unsigned char, T>;

/// Elements of an array that somebody else owns, row-major; like std::span, with axes.
template <class T>
class View {
 public:
  View(const Stored<T>* data, const std::size_t* shape, std::size_t axes) : data_(data), shape_(shape), axes_(axes) {}

  const Stored<T>* data() const { return data_; }
  const Stored<T>* begin() const { return data_; }
  const Stored<T>* end() const { return data_ + size(); }

  /// Number of axes.
  std::size_t axes() const { return axes_; }

  /// Size of an axis.
  std::size_t extent(std::size_t axis) const { return shape_[axis]; }

  /// Number of elements.
  std::size_t size() const {
    return std::accumulate(shape_, shape_ + axes_, std::size_t{1}, std::multiplies<>());
  }

  /// The part at an index of the first axis.
  View operator[](std::size_t index) const {
    assert(axes_ > 0 && index < shape_[0]);
    const View part(data_, shape_ + 1, axes_ - 1);
    return View(data_ + index * part.size(), shape_ + 1, axes_ - 1);
  }

  /// The element at one index for each axis.
  template <class... Index>
  T operator()(Index... index) const {
    assert(sizeof...(index) == axes_);
    std::size_t at = 0, axis = 0;
    ((at = at * shape_[axis++] + static_cast<std::size_t>(index)), ...);
    return static_cast<T>(data_[at]);
  }

 private:
  const Stored<T>* data_;
  const std::size_t* shape_;
  std::size_t axes_;
};

/// An n-dimensional array, row-major and contiguous.
template <class T>
struct Array {
  Shape shape;
  /// The elements; their number is the product of `shape`.
  std::vector<Stored<T>> values;

  /// The whole array, valid as long as it lives and keeps its shape.
  View<T> view() const& { return View<T>(values.data(), shape.data(), shape.size()); }
  View<T> view() && = delete;

  /// The part at an index of the first axis: a view, not a copy.
  View<T> operator[](std::size_t index) const& { return view()[index]; }

  /// The element at one index for each axis.
  template <class... Index>
  T operator()(Index... index) const& {
    return view()(index...);
  }
};

}  // namespace featsvc

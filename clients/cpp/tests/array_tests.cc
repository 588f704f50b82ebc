/// Tensors and masks as arrays.

#include <cmath>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

#include "featsvc/masks.h"
#include "featsvc/tensor.h"

namespace {

using namespace featsvc;

v1::Tensor tensor(v1::DType dtype, const std::vector<std::uint32_t>& shape, const std::string& data) {
  v1::Tensor made;
  made.set_dtype(dtype);
  made.mutable_shape()->Assign(shape.begin(), shape.end());
  made.set_data(data);
  return made;
}

/// Bytes of the numbers, little-endian.
template <class T>
std::string bytes(const std::vector<T>& numbers) {
  std::string all;
  for (const T number : numbers) {
    for (std::size_t i = 0; i < sizeof(T); ++i) all.push_back(static_cast<char>(number >> (8 * i) & 0xff));
  }
  return all;
}

template <class T>
void expect_values(const Array<T>& array, const Shape& shape, const std::vector<Stored<T>>& values) {
  EXPECT_EQ(array.shape, shape);
  EXPECT_EQ(array.values, values);
}

v1::Rle coco(const std::string& text, std::uint32_t height, std::uint32_t width) {
  v1::Rle rle;
  rle.set_coco(text);
  rle.set_height(height);
  rle.set_width(width);
  return rle;
}

TEST(Tensors, every_element_type_is_read) {
  expect_values(floats(tensor(v1::D_TYPE_FLOAT32, {2}, bytes<std::uint32_t>({0x3fc00000, 0xc0000000}))), {2}, {1.5f, -2.f});
  expect_values(floats(tensor(v1::D_TYPE_BFLOAT16, {2}, bytes<std::uint16_t>({0x3fc0, 0xc000}))), {2}, {1.5f, -2.f});
  expect_values(decoded<std::uint8_t>(tensor(v1::D_TYPE_UINT8, {1, 2}, "\x01\xff")), {1, 2}, {1, 255});
  expect_values(decoded<std::int8_t>(tensor(v1::D_TYPE_INT8, {2}, "\x01\xff")), {2}, {1, -1});
  expect_values(decoded<std::uint16_t>(tensor(v1::D_TYPE_UINT16, {1}, bytes<std::uint16_t>({65535}))), {1}, {65535});
  expect_values(decoded<std::int64_t>(tensor(v1::D_TYPE_INT64, {2}, bytes<std::int64_t>({-3, 1LL << 40}))), {2},
                {-3, 1LL << 40});
  expect_values(decoded<bool>(tensor(v1::D_TYPE_BOOL, {2}, std::string("\0\x01", 2))), {2}, {0, 1});
  expect_values(floats(tensor(v1::D_TYPE_INT64, {1}, bytes<std::int64_t>({-3}))), {1}, {-3.f});
}

TEST(Tensors, every_half_is_widened_exactly) {
  std::vector<std::uint16_t> halves(1 << 16);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  const Array<float> found = floats(tensor(v1::D_TYPE_FLOAT16, {1 << 16}, bytes(halves)));
  for (const int half : halves) {
    const int exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
    const float value = found(half);
    EXPECT_EQ(std::signbit(value), half >> 15 == 1);
    if (exponent == 31) {
      EXPECT_EQ(fraction == 0 ? std::isinf(value) : std::isnan(value), true) << half;
    } else {
      const double size = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
      EXPECT_EQ(std::fabs(value), size) << half;
    }
  }
}

TEST(Tensors, each_row_of_bits_starts_on_a_byte) {
  const Array<bool> found = decoded<bool>(tensor(v1::D_TYPE_BITS, {2, 9}, "\x81\x80\x40\x7f"));
  expect_values(found, {2, 9}, {1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0});
}

TEST(Tensors, integers_are_scaled_by_channel_whichever_axis_it_is) {
  const auto integers = [](const std::vector<std::uint32_t>& shape) {
    return tensor(v1::D_TYPE_INT8, shape, "\x01\x02\x03\xfc");
  };
  v1::Rounding rounding;
  *rounding.mutable_scale() = tensor(v1::D_TYPE_FLOAT32, {2}, bytes<std::uint32_t>({0x3f000000, 0x41200000}));
  expect_values(features(integers({1, 2, 2}), rounding), {1, 2, 2}, {.5f, 20.f, 1.5f, -40.f});
  rounding.mutable_scale()->mutable_shape()->Add(1);
  rounding.mutable_scale()->mutable_shape()->Add(1);
  expect_values(features(integers({2, 1, 2}), rounding), {2, 1, 2}, {.5f, 1.f, 30.f, -40.f});
  EXPECT_THROW(features(integers({4, 1, 1}), rounding), Error);
}

TEST(Tensors, what_does_not_fit_is_an_error) {
  EXPECT_THROW(floats(tensor(v1::D_TYPE_FLOAT32, {2}, "1234")), Error);
  EXPECT_THROW(floats(tensor(v1::D_TYPE_UNSPECIFIED, {1}, "1")), Error);
  EXPECT_THROW(floats(tensor(v1::D_TYPE_BOOL, {1}, "1")), Error);
  EXPECT_THROW(decoded<bool>(tensor(v1::D_TYPE_UINT8, {1}, "1")), Error);
  const std::vector<std::uint32_t> huge(8, 1 << 20);
  EXPECT_THROW(decoded<bool>(tensor(v1::D_TYPE_BITS, huge, "1")), Error);
}

TEST(Tensors, no_axes_are_one_element_and_an_axis_of_0_is_none) {
  expect_values(decoded<std::uint8_t>(tensor(v1::D_TYPE_UINT8, {}, "\x07")), {}, {7});
  EXPECT_EQ(decoded<std::uint8_t>(tensor(v1::D_TYPE_UINT8, {}, "\x07"))(), 7);
  expect_values(floats(tensor(v1::D_TYPE_FLOAT32, {0, 3}, "")), {0, 3}, {});
}

TEST(Tensors, a_view_shows_a_part_without_a_copy) {
  const Array<std::uint8_t> array{{2, 3, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};
  EXPECT_EQ(array(1, 2, 0), 10);
  const View<std::uint8_t> part = array[1][2];
  EXPECT_EQ(part.data(), array.values.data() + 10);
  EXPECT_EQ(part.axes(), 1u);
  EXPECT_EQ(part.extent(0), 2u);
  EXPECT_EQ(std::vector<int>(part.begin(), part.end()), (std::vector<int>{10, 11}));
}

TEST(Masks, runs_go_down_the_columns) {
  v1::Rle rle;
  rle.set_height(2);
  rle.set_width(3);
  for (const unsigned int each : {1, 2, 3}) rle.mutable_lengths()->add_counts(each);
  expect_values(run_lengths(rle), {2, 3}, {0, 1, 0, 1, 0, 0});
}

TEST(Masks, compressed_runs_are_differences_from_the_fourth_on) {
  // 1 2 3 and 4, which is 2 more than the one two before.
  expect_values(run_lengths(coco("1232", 5, 2)), {5, 2}, {0, 0, 1, 1, 1, 1, 0, 1, 0, 1});
  // 40 in two groups.
  const Array<bool> large = run_lengths(coco("0X1", 40, 1));
  EXPECT_EQ(large.values, std::vector<unsigned char>(40, 1));
}

TEST(Masks, damaged_runs_are_errors) {
  EXPECT_THROW(run_lengths(coco("1", 5, 2)), Error);
  EXPECT_THROW(run_lengths(coco("P", 5, 2)), Error);
  EXPECT_THROW(run_lengths(coco("O", 5, 2)), Error);
  EXPECT_THROW(run_lengths(coco("", 5, 2)), Error);
  EXPECT_THROW(run_lengths(coco("1", 1u << 31, 1u << 31)), Error);
}

TEST(Masks, automatic_masks_are_booleans_also_where_floats_were_sent) {
  v1::Mask sent;
  *sent.mutable_bitmap() = tensor(v1::D_TYPE_FLOAT32, {1, 2}, bytes<std::uint32_t>({0x3f800000, 0}));
  expect_values(mask(sent), {1, 2}, {1, 0});
  EXPECT_THROW(mask(v1::Mask()), Error);
}

TEST(Masks, masks_of_a_prompt_are_stacked) {
  v1::PromptMasks sent;
  *sent.add_rle() = coco("11", 2, 1);
  *sent.add_rle() = coco("02", 2, 1);
  expect_values(prompt_masks(sent), {2, 2, 1}, {0, 1, 1, 1});
  *sent.add_rle() = coco("3", 1, 3);
  EXPECT_THROW(prompt_masks(sent), Error);
  EXPECT_THROW(prompt_masks(v1::PromptMasks()), Error);
}

TEST(Masks, png_files_are_read_where_libpng_is) {
  // 3 x 2 pixels of one bit: 101 and 010.
  static constexpr unsigned char bytes[] = {
      137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 3, 0, 0, 0, 2, 1, 0, 0, 0, 0, 181, 15,
      91, 183, 0, 0, 0, 12, 73, 68, 65, 84, 120, 156, 99, 88, 192, 224, 0, 0, 2, 36, 0, 225, 115, 235, 59, 242, 0, 0,
      0, 0, 73, 69, 78, 68, 174, 66, 96, 130};
  const std::string file(std::begin(bytes), std::end(bytes));
  v1::Mask sent;
  sent.set_png(file);
  if (has_png()) {
    expect_values(mask(sent), {2, 3}, {1, 0, 1, 0, 1, 0});
    EXPECT_THROW(png_mask("no picture"), Error);
    EXPECT_THROW(png_mask(file.substr(0, 45)), Error);
  } else {
    EXPECT_THROW(mask(sent), Error);
  }
}

}  // namespace

#include "featsvc/masks.h"

#include <cstring>
#include <limits>

#ifdef FEATSVC_HAS_PNG
#include <png.h>
#endif

#include "damaged.h"
#include "featsvc/tensor.h"
#include "layout.h"

namespace featsvc {
namespace {

/// True where a tensor of bits, booleans or numbers is above 0.
Array<bool> bitmap(const v1::Tensor& tensor) {
  if (tensor.dtype() == v1::D_TYPE_BITS || tensor.dtype() == v1::D_TYPE_BOOL) return decoded<bool>(tensor);
  const Array<float> found = floats(tensor);
  Array<bool> above{found.shape, std::vector<unsigned char>(found.values.size())};
  for (std::size_t i = 0; i < found.values.size(); ++i) above.values[i] = found.values[i] > 0;
  return above;
}

/// Reads COCO's compressed text: each count in groups of five bits, from the fourth on as the difference to the one two
/// before.
std::vector<std::int64_t> coco_runs(const std::string& text) {
  std::vector<std::int64_t> runs;
  std::uint64_t number = 0;
  int shift = 0;
  for (const char character : text) {
    const auto group = static_cast<std::uint64_t>(static_cast<unsigned char>(character) - 48);
    number |= (group & 0x1f) << shift;
    shift += 5;
    if ((group & 0x20) != 0 && shift < 60) continue;
    if ((group & 0x10) != 0) number |= ~std::uint64_t{0} << shift;
    if (runs.size() > 2) number += static_cast<std::uint64_t>(runs[runs.size() - 2]);
    runs.push_back(static_cast<std::int64_t>(number));
    number = 0;
    shift = 0;
  }
  if (shift != 0) throw damaged("compressed run lengths are cut off");
  return runs;
}

}  // namespace

Array<bool> mask(const v1::Mask& mask) {
  switch (mask.segmentation_case()) {
    case v1::Mask::kBitmap: return bitmap(mask.bitmap());
    case v1::Mask::kRle: return run_lengths(mask.rle());
    case v1::Mask::kPng: return png_mask(mask.png());
    default: throw damaged("a mask without pixels; a label map may have them");
  }
}

Array<bool> prompt_masks(const v1::PromptMasks& reply) {
  if (reply.has_masks()) return bitmap(reply.masks());
  const int runs = reply.rle_size(), count = runs + reply.png_size();
  if (count == 0) throw damaged("masks without pixels; a label map may have them");
  Array<bool> all;
  for (int i = 0; i < count; ++i) {
    const Array<bool> one = i < runs ? run_lengths(reply.rle(i)) : png_mask(reply.png(i - runs));
    if (i == 0) {
      all.shape = {static_cast<std::size_t>(count), one.shape[0], one.shape[1]};
      all.values.reserve(product(all.shape));
    }
    if (one.shape != Shape(all.shape.begin() + 1, all.shape.end())) throw damaged("masks of different sizes");
    all.values.insert(all.values.end(), one.values.begin(), one.values.end());
  }
  return all;
}

Array<bool> run_lengths(const v1::Rle& rle) {
  std::vector<std::int64_t> runs;
  if (rle.has_lengths()) runs.assign(rle.lengths().counts().begin(), rle.lengths().counts().end());
  if (rle.runs_case() == v1::Rle::kCoco) runs = coco_runs(rle.coco());
  // Looked at before memory is taken: sizes come from outside.
  std::uint64_t pixels = 0;
  for (const std::int64_t run : runs) {
    if (run < 0 || run > std::numeric_limits<std::uint32_t>::max()) {
      throw damaged("a run of " + std::to_string(run) + " pixels");
    }
    pixels += static_cast<std::uint64_t>(run);
  }
  const std::size_t height = rle.height(), width = rle.width();
  if (pixels != std::uint64_t{rle.height()} * rle.width()) {
    throw damaged("runs of " + std::to_string(pixels) + " pixels for a mask of shape " + text({height, width}));
  }
  Array<bool> mask{{height, width}, std::vector<unsigned char>(height * width)};
  std::size_t at = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::size_t end = at + static_cast<std::size_t>(runs[i]);
    // Runs go down the columns.
    for (; i % 2 == 1 && at < end; ++at) mask.values[at % height * width + at / height] = 1;
    at = end;
  }
  return mask;
}

#ifdef FEATSVC_HAS_PNG
bool has_png() { return true; }

Array<bool> png_mask(const std::string& file) {
  png_image image;
  std::memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_memory(&image, file.data(), file.size()) == 0) {
    throw damaged(std::string("no PNG of a mask: ") + image.message);
  }
  image.format = PNG_FORMAT_GRAY;
  const std::size_t height = image.height, width = image.width;
  Array<bool> mask{{height, width}, std::vector<unsigned char>(height * width)};
  if (png_image_finish_read(&image, nullptr, mask.values.data(), 0, nullptr) == 0) {
    png_image_free(&image);
    throw damaged(std::string("no PNG of a mask: ") + image.message);
  }
  for (unsigned char& each : mask.values) each = each > 0;
  return mask;
}
#else
bool has_png() { return false; }

Array<bool> png_mask(const std::string&) {
  throw Error(grpc::StatusCode::UNIMPLEMENTED,
              "this client was built without libpng: decode the PNG file in the reply, or ask for another encoding of masks");
}
#endif

}  // namespace featsvc

/// @file
/// Masks as arrays of booleans.
#pragma once

#include <string>

#include "featsvc/array.h"
#include "featsvc/error.h"
#include "featsvc/v1/sam2.pb.h"

namespace featsvc {

/// The pixels of an automatic mask, height x width, however they were sent. Those of masks asked for as a label map stand
/// in the reply's label map, which `decoded<std::uint16_t>` reads.
Array<bool> mask(const v1::Mask& mask);

/// The masks of one prompt, masks x height x width, however they were sent. Logits are no masks: `floats` of their tensor
/// reads them.
Array<bool> prompt_masks(const v1::PromptMasks& reply);

/// The pixels of a mask written as runs in column-major order, height x width. The format is that of maskApi.c in
/// cocodataset/cocoapi.
Array<bool> run_lengths(const v1::Rle& rle);

/// The pixels of a mask in a PNG file, height x width. Throws Error with UNIMPLEMENTED where this library was built without
/// libpng (`has_png`); the file is then in the reply all the same.
Array<bool> png_mask(const std::string& file);

/// Whether this library was built with libpng.
bool has_png();

}  // namespace featsvc

/// What the runner prints about an answer.
#pragma once

#include <string>

#include <google/protobuf/struct.pb.h>

#include "featsvc/featsvc.h"

namespace conformance {

using google::protobuf::Struct;
using namespace featsvc::v1;

/// Sets a field of a JSON object.
void set(Struct& object, const std::string& name, const std::string& value);

/// The arrays of an answer, by name.
/// @{
Struct arrays(const ClipServiceExtractFeaturesResponse& reply);
Struct arrays(const DinoServiceExtractFeaturesResponse& reply);
Struct arrays(const EmbedPyramidResponse& reply);
Struct arrays(const EncodeTextResponse& reply);
Struct arrays(const EncodeImageResponse& reply);
Struct arrays(const ComputeSimilarityResponse& reply);
Struct arrays(const GenerateMasksResponse& reply);
Struct arrays(const PredictMasksResponse& reply);
Struct arrays(const EmbedImageResponse& reply);
Struct arrays(const DescribeObjectsResponse& reply);
Struct arrays(const FindObjectsResponse& reply);
/// @}

}  // namespace conformance

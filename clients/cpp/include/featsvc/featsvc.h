/// @file
/// All of the client.
#pragma once

#include "featsvc/array.h"
#include "featsvc/client.h"
#include "featsvc/error.h"
#include "featsvc/masks.h"
#include "featsvc/retry.h"
#include "featsvc/stream.h"
#include "featsvc/tensor.h"

package featsvc_test

import (
	"math"
	"slices"
	"testing"

	"featsvc"
	pb "featsvc/gen/featsvc/v1"
)

func tensor(dtype pb.DType, data []byte, shape ...uint32) *pb.Tensor {
	return &pb.Tensor{Dtype: dtype, Shape: shape, Data: data}
}

func decoded[T featsvc.Element](t *testing.T, from *pb.Tensor, expected ...T) {
	t.Helper()
	found, err := featsvc.Decode[T](from)
	if err != nil || !slices.Equal(found.Values, expected) {
		t.Errorf("%s: %v %v", from.GetDtype(), found.Values, err)
	}
}

func TestEveryElementTypeBecomesASlice(t *testing.T) {
	decoded(t, tensor(pb.DType_D_TYPE_FLOAT32, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}, 2), float32(1), float32(-2))
	decoded(t, tensor(pb.DType_D_TYPE_BFLOAT16, []byte{0x80, 0x3f, 0, 0xc0}, 2), float32(1), float32(-2))
	decoded(t, tensor(pb.DType_D_TYPE_UINT8, []byte{0, 255}, 2), uint8(0), uint8(255))
	decoded(t, tensor(pb.DType_D_TYPE_INT8, []byte{127, 128}, 2), int8(127), int8(-128))
	decoded(t, tensor(pb.DType_D_TYPE_UINT16, []byte{1, 0, 0, 0xff}, 2), uint16(1), uint16(0xff00))
	decoded(t, tensor(pb.DType_D_TYPE_INT64, []byte{0xfe, 255, 255, 255, 255, 255, 255, 255}, 1), int64(-2))
	decoded(t, tensor(pb.DType_D_TYPE_BOOL, []byte{0, 1}, 2), false, true)
	// Ten columns take two bytes a row, most significant bit first.
	bits := tensor(pb.DType_D_TYPE_BITS, []byte{0x80, 0x40, 0, 0x80}, 2, 10)
	decoded(t, bits, true, false, false, false, false, false, false, false, false, true,
		false, false, false, false, false, false, false, false, true, false)
}

func TestHalfPrecisionIsWidenedExactly(t *testing.T) {
	halves := []byte{0, 0, 0, 0x80, 0, 0x3c, 0xff, 0x7b, 1, 0, 0xff, 3, 0, 4, 1, 0x80, 0, 0x7c, 0, 0xfc}
	expected := []float32{
		0, float32(math.Copysign(0, -1)), 1, 65504, 0x1p-24, 1023 * 0x1p-24, 0x1p-14, -0x1p-24,
		float32(math.Inf(1)), float32(math.Inf(-1)),
	}
	found, err := featsvc.Floats(tensor(pb.DType_D_TYPE_FLOAT16, halves, 10))
	if err != nil {
		t.Fatal(err)
	}
	for i, each := range found.Values {
		if math.Float32bits(each) != math.Float32bits(expected[i]) {
			t.Errorf("%d: %v instead of %v", i, each, expected[i])
		}
	}
	if nan, err := featsvc.Floats(tensor(pb.DType_D_TYPE_FLOAT16, []byte{1, 0x7e}, 1)); err != nil || nan.Values[0] == nan.Values[0] {
		t.Errorf("%v is a number", nan.Values[0])
	}
}

func TestIntegersAreMultipliedByTheScaleOfTheirChannel(t *testing.T) {
	factors := []byte{0, 0, 0, 0x40, 0, 0, 0x40, 0x40} // 2 and 3
	for name, reply := range map[string]*response{
		"channels last": {
			Features: tensor(pb.DType_D_TYPE_INT8, []byte{1, 1, 255, 255}, 2, 1, 2),
			Rounding: &pb.Rounding{Scale: tensor(pb.DType_D_TYPE_FLOAT32, factors, 2)},
		},
		"channels first": {
			Features: tensor(pb.DType_D_TYPE_INT8, []byte{1, 255, 1, 255}, 2, 1, 2),
			Rounding: &pb.Rounding{Scale: tensor(pb.DType_D_TYPE_FLOAT32, factors, 2, 1, 1)},
		},
	} {
		expected := []float32{2, 3, -2, -3}
		if name == "channels first" {
			expected = []float32{2, -2, 3, -3}
		}
		if found, err := featsvc.Features(reply); err != nil || !slices.Equal(found.Values, expected) {
			t.Errorf("%s: %v %v", name, found.Values, err)
		}
	}
	if _, err := featsvc.Features(&response{Features: tensor(pb.DType_D_TYPE_INT8, []byte{1}, 1)}); err == nil {
		t.Error("integers without their scale were taken")
	}
}

func TestATensorThatDoesNotFitItsShapeIsAnError(t *testing.T) {
	for name, bad := range map[string]*pb.Tensor{
		"short":   tensor(pb.DType_D_TYPE_FLOAT32, make([]byte, 7), 2),
		"long":    tensor(pb.DType_D_TYPE_FLOAT32, make([]byte, 9), 2),
		"unknown": tensor(pb.DType(99), nil),
		"missing": nil,
		"huge":    tensor(pb.DType_D_TYPE_FLOAT32, nil, 1<<31, 1<<31, 1<<31),
	} {
		if found, err := featsvc.Floats(bad); err == nil {
			t.Errorf("%s: %v", name, found)
		}
	}
	if _, err := featsvc.Decode[bool](tensor(pb.DType_D_TYPE_UINT8, []byte{1}, 1)); err == nil {
		t.Error("numbers were taken for booleans")
	}
}

func TestAnArrayIsReadByIndexAndByRow(t *testing.T) {
	array := featsvc.Array[uint8]{Shape: []int{2, 3}, Values: []uint8{1, 2, 3, 4, 5, 6}}
	if array.At(1, 2) != 6 || !slices.Equal(array.Row(1).Values, []uint8{4, 5, 6}) {
		t.Error(array.At(1, 2), array.Row(1))
	}
}

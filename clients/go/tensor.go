package featsvc

import (
	"encoding/binary"
	"math"

	pb "featsvc/gen/featsvc/v1"
)

// Array is an n-dimensional array, row-major.
type Array[T any] struct {
	// Shape is the size of each axis.
	Shape []int
	// Values are the elements; their number is the product of Shape.
	Values []T
}

// At is the element at an index, one number for each axis.
func (a Array[T]) At(index ...int) T {
	at := 0
	for axis, i := range index {
		at = at*a.Shape[axis] + i
	}
	return a.Values[at]
}

// Row is the subarray at the first index of the first axis: a view, not a copy.
func (a Array[T]) Row(i int) Array[T] {
	size := product(a.Shape[1:])
	return Array[T]{a.Shape[1:], a.Values[i*size : (i+1)*size]}
}

// Element is what a tensor can hold, as Go has it. FLOAT16 and BFLOAT16 become float32, BITS become bool.
type Element interface {
	float32 | uint8 | int8 | uint16 | int64 | bool
}

// FeatureReply is the reply of CLIP or DINO with dense features, or with a pyramid.
type FeatureReply interface {
	GetFeatures() *pb.Tensor
	GetRounding() *pb.Rounding
}

// Features are the dense features of a reply as float32, of whatever type they were sent.
func Features(reply FeatureReply) (Array[float32], error) {
	return restored(reply.GetFeatures(), reply.GetRounding())
}

// Vectors are those of all objects in one way as float32, objects x channels, of whatever type they were sent.
func Vectors(way *pb.ObjectVectors) (Array[float32], error) {
	return restored(way.GetVectors(), way.GetRounding())
}

func restored(tensor *pb.Tensor, rounding *pb.Rounding) (Array[float32], error) {
	if tensor.GetDtype() != pb.DType_D_TYPE_INT8 {
		return Floats(tensor)
	}
	return scaled(tensor, rounding.GetScale())
}

// Floats are the elements of a tensor of any number type as float32.
func Floats(tensor *pb.Tensor) (Array[float32], error) {
	switch tensor.GetDtype() {
	case pb.DType_D_TYPE_UINT8:
		return converted[uint8](tensor)
	case pb.DType_D_TYPE_INT8:
		return converted[int8](tensor)
	case pb.DType_D_TYPE_UINT16:
		return converted[uint16](tensor)
	case pb.DType_D_TYPE_INT64:
		return converted[int64](tensor)
	}
	return Decode[float32](tensor)
}

// Decode gives the elements of a tensor, and an error where they are not of that type.
func Decode[T Element](tensor *pb.Tensor) (Array[T], error) {
	shape, size, err := layout(tensor)
	if err != nil {
		return Array[T]{}, err
	}
	data := tensor.GetData()
	if len(data) != size {
		return Array[T]{}, damaged("%d bytes, but %s of shape %v takes %d", len(data), tensor.GetDtype(), shape, size)
	}
	values := make([]T, product(shape))
	if !fill(any(values), tensor.GetDtype(), data, shape) {
		return Array[T]{}, damaged("a tensor of %s is no slice of %T", tensor.GetDtype(), *new(T))
	}
	return Array[T]{shape, values}, nil
}

// fill decodes into a slice whose length fits; false where the slice is not for that type.
func fill(values any, dtype pb.DType, data []byte, shape []int) bool {
	switch values := values.(type) {
	case []float32:
		return fillFloats(values, dtype, data)
	case []bool:
		switch dtype {
		case pb.DType_D_TYPE_BOOL:
			for i, each := range data {
				values[i] = each != 0
			}
			return true
		case pb.DType_D_TYPE_BITS:
			unpack(values, data, shape)
			return true
		}
	case []uint8:
		return dtype == pb.DType_D_TYPE_UINT8 && copy(values, data) == len(data)
	case []int8:
		for i, each := range data {
			if i < len(values) {
				values[i] = int8(each)
			}
		}
		return dtype == pb.DType_D_TYPE_INT8
	case []uint16:
		if dtype == pb.DType_D_TYPE_UINT16 {
			for i := range values {
				values[i] = binary.LittleEndian.Uint16(data[2*i:])
			}
			return true
		}
	case []int64:
		if dtype == pb.DType_D_TYPE_INT64 {
			for i := range values {
				values[i] = int64(binary.LittleEndian.Uint64(data[8*i:]))
			}
			return true
		}
	}
	return false
}

func fillFloats(values []float32, dtype pb.DType, data []byte) bool {
	switch dtype {
	case pb.DType_D_TYPE_FLOAT32:
		for i := range values {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case pb.DType_D_TYPE_BFLOAT16:
		for i := range values {
			values[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(data[2*i:])) << 16)
		}
	case pb.DType_D_TYPE_FLOAT16:
		for i := range values {
			values[i] = widened(binary.LittleEndian.Uint16(data[2*i:]))
		}
	default:
		return false
	}
	return true
}

// widened is the float32 equal to an IEEE 754 binary16.
func widened(half uint16) float32 {
	sign := uint32(half&0x8000) << 16
	exponent, fraction := uint32(half>>10&0x1f), uint32(half&0x3ff)
	switch exponent {
	case 0:
		// Zero and subnormals: the fraction counts in units of 2^-24, which float32 has exactly.
		value := float32(fraction) * (1.0 / (1 << 24))
		return math.Float32frombits(sign | math.Float32bits(value))
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}

// unpack reads bits, most significant first, each row of the last axis from a new byte.
func unpack(values []bool, data []byte, shape []int) {
	columns := 1
	if len(shape) > 0 {
		columns = shape[len(shape)-1]
	}
	stride := (columns + 7) / 8
	for row := 0; row*columns < len(values); row++ {
		packed := data[row*stride:]
		for column := range columns {
			values[row*columns+column] = packed[column/8]>>(7-column%8)&1 == 1
		}
	}
}

// scaled are integers times the factor of their channel: of the last axis, or of the first where the factors' shape says so.
func scaled(tensor, factors *pb.Tensor) (Array[float32], error) {
	integers, err := Decode[int8](tensor)
	if err != nil {
		return Array[float32]{}, err
	}
	scale, err := Decode[float32](factors)
	if err != nil {
		return Array[float32]{}, err
	}
	// How many elements in a row share a factor: channels x 1 x 1 stands before, channels beside the last axis.
	shape, each := integers.Shape, 1
	axis := len(shape) - 1
	if len(scale.Shape) == len(shape) && len(shape) > 1 && scale.Shape[0] != 1 {
		axis, each = 0, product(shape[1:])
	}
	if axis < 0 || shape[axis] != len(scale.Values) {
		return Array[float32]{}, damaged("%d factors for features of shape %v", len(scale.Values), shape)
	}
	values := make([]float32, len(integers.Values))
	for at := 0; at < len(values); {
		for _, factor := range scale.Values {
			for end := at + each; at < end; at++ {
				values[at] = float32(integers.Values[at]) * factor
			}
		}
	}
	return Array[float32]{shape, values}, nil
}

func converted[T uint8 | int8 | uint16 | int64](tensor *pb.Tensor) (Array[float32], error) {
	found, err := Decode[T](tensor)
	if err != nil {
		return Array[float32]{}, err
	}
	values := make([]float32, len(found.Values))
	for i, each := range found.Values {
		values[i] = float32(each)
	}
	return Array[float32]{found.Shape, values}, nil
}

var elementBytes = map[pb.DType]int{
	pb.DType_D_TYPE_FLOAT32:  4,
	pb.DType_D_TYPE_FLOAT16:  2,
	pb.DType_D_TYPE_BFLOAT16: 2,
	pb.DType_D_TYPE_UINT8:    1,
	pb.DType_D_TYPE_INT64:    8,
	pb.DType_D_TYPE_BOOL:     1,
	pb.DType_D_TYPE_BITS:     1,
	pb.DType_D_TYPE_INT8:     1,
	pb.DType_D_TYPE_UINT16:   2,
}

// layout is the shape of a tensor, and the length of its data in bytes.
func layout(tensor *pb.Tensor) (shape []int, size int, err error) {
	width, known := elementBytes[tensor.GetDtype()]
	if !known {
		return nil, 0, damaged("a tensor of the unknown element type %d", tensor.GetDtype())
	}
	shape = make([]int, len(tensor.GetShape()))
	for axis, each := range tensor.GetShape() {
		shape[axis] = int(each)
	}
	stored := shape
	if last := len(shape) - 1; tensor.GetDtype() == pb.DType_D_TYPE_BITS && last >= 0 {
		stored = append(append([]int{}, shape[:last]...), (shape[last]+7)/8)
	}
	size = width
	for _, each := range stored {
		if each > 0 && size > math.MaxInt/each {
			return nil, 0, damaged("a tensor of shape %v", shape)
		}
		size *= each
	}
	return shape, size, nil
}

func product(shape []int) int {
	size := 1
	for _, each := range shape {
		size *= each
	}
	return size
}

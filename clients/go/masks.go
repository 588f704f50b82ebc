package featsvc

import (
	"bytes"
	"image"
	"image/png"
	"math"

	pb "featsvc/gen/featsvc/v1"
)

// Mask gives the pixels of an automatic mask, height x width. Those of masks asked for as a label map stand in the reply's
// label map, which Decode[uint16] reads.
func Mask(mask *pb.Mask) (Array[bool], error) {
	switch form := mask.GetSegmentation().(type) {
	case *pb.Mask_Bitmap:
		return bitmap(form.Bitmap)
	case *pb.Mask_Rle:
		return RunLengths(form.Rle)
	case *pb.Mask_Png:
		return pngMask(form.Png)
	}
	return Array[bool]{}, damaged("a mask without pixels; a label map may have them")
}

// PromptMasks gives the masks of one prompt, masks x height x width, however they were encoded. Logits are no masks:
// Decode[float32] of their tensor reads them.
func PromptMasks(reply *pb.PromptMasks) (Array[bool], error) {
	if reply.GetMasks() != nil {
		return bitmap(reply.GetMasks())
	}
	var all Array[bool]
	count := len(reply.GetRle()) + len(reply.GetPng())
	for i := range count {
		var one Array[bool]
		var err error
		if i < len(reply.GetRle()) {
			one, err = RunLengths(reply.GetRle()[i])
		} else {
			one, err = pngMask(reply.GetPng()[i-len(reply.GetRle())])
		}
		if err != nil {
			return Array[bool]{}, err
		}
		if i == 0 {
			all.Shape = append([]int{count}, one.Shape...)
			all.Values = make([]bool, 0, count*len(one.Values))
		}
		if len(one.Values) != product(all.Shape[1:]) {
			return Array[bool]{}, damaged("masks of different sizes")
		}
		all.Values = append(all.Values, one.Values...)
	}
	if count == 0 {
		return Array[bool]{}, damaged("masks without pixels; a label map may have them")
	}
	return all, nil
}

// RunLengths gives the pixels of a mask written as runs in column-major order, height x width.
//
// The format is that of maskApi.c in cocodataset/cocoapi.
func RunLengths(rle *pb.Rle) (Array[bool], error) {
	var runs []int64
	switch form := rle.GetRuns().(type) {
	case *pb.Rle_Lengths:
		for _, each := range form.Lengths.GetCounts() {
			runs = append(runs, int64(each))
		}
	case *pb.Rle_Coco:
		var whole bool
		if runs, whole = cocoRuns(form.Coco); !whole {
			return Array[bool]{}, damaged("compressed run lengths are cut off")
		}
	}
	// Looked at before memory is taken: sizes come from outside.
	var pixels uint64
	for _, run := range runs {
		if run < 0 || run > math.MaxUint32 {
			return Array[bool]{}, damaged("a run of %d pixels", run)
		}
		pixels += uint64(run)
	}
	if pixels != uint64(rle.GetHeight())*uint64(rle.GetWidth()) {
		return Array[bool]{}, damaged("runs of %d pixels for a mask of %d x %d", pixels, rle.GetHeight(), rle.GetWidth())
	}
	height, width := int(rle.GetHeight()), int(rle.GetWidth())
	mask := Array[bool]{[]int{height, width}, make([]bool, pixels)}
	at := 0
	for i, run := range runs {
		end := at + int(run)
		if i%2 == 1 && run > 0 {
			// Runs go down the columns.
			for row, column := at%height, at/height; at < end; at++ {
				mask.Values[row*width+column] = true
				if row++; row == height {
					row, column = 0, column+1
				}
			}
		}
		at = end
	}
	return mask, nil
}

// cocoRuns reads COCO's compressed text: each count in groups of five bits, from the fourth on as the difference to the
// one two before.
func cocoRuns(text string) (runs []int64, whole bool) {
	var number int64
	shift := 0
	for i := range len(text) {
		group := int64(text[i]) - 48
		number |= group & 0x1f << shift
		shift += 5
		if group&0x20 != 0 && shift < 60 {
			continue
		}
		if group&0x10 != 0 {
			number |= -1 << shift
		}
		if len(runs) > 2 {
			number += runs[len(runs)-2]
		}
		runs = append(runs, number)
		number, shift = 0, 0
	}
	return runs, shift == 0
}

// bitmap is true where a tensor of bits, booleans or numbers is above 0.
func bitmap(tensor *pb.Tensor) (Array[bool], error) {
	switch tensor.GetDtype() {
	case pb.DType_D_TYPE_BITS, pb.DType_D_TYPE_BOOL:
		return Decode[bool](tensor)
	}
	found, err := Floats(tensor)
	values := make([]bool, len(found.Values))
	for i, each := range found.Values {
		values[i] = each > 0
	}
	return Array[bool]{found.Shape, values}, err
}

func pngMask(content []byte) (Array[bool], error) {
	picture, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		return Array[bool]{}, damaged("no PNG of a mask: %v", err)
	}
	size := picture.Bounds()
	mask := Array[bool]{[]int{size.Dy(), size.Dx()}, make([]bool, size.Dy()*size.Dx())}
	for y := range size.Dy() {
		row := mask.Values[y*size.Dx() : (y+1)*size.Dx()]
		if grey, ok := picture.(*image.Gray); ok {
			for x, level := range grey.Pix[y*grey.Stride:][:size.Dx()] {
				row[x] = level > 0
			}
			continue
		}
		for x := range row {
			level, _, _, _ := picture.At(size.Min.X+x, size.Min.Y+y).RGBA()
			row[x] = level > 0
		}
	}
	return mask, nil
}

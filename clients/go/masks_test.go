package featsvc_test

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"slices"
	"testing"

	"featsvc"
	pb "featsvc/gen/featsvc/v1"
)

// The mask of all forms below: its runs go down the columns.
var (
	shape  = []int{2, 3}
	pixels = []bool{false, true, false, true, true, false}
	runs   = []uint32{1, 3, 2}
)

func lengths(height, width uint32, counts ...uint32) *pb.Rle {
	return &pb.Rle{Height: height, Width: width, Runs: &pb.Rle_Lengths{Lengths: &pb.RunLengths{Counts: counts}}}
}

func coco(height, width uint32, text string) *pb.Rle {
	return &pb.Rle{Height: height, Width: width, Runs: &pb.Rle_Coco{Coco: text}}
}

func file(t *testing.T) []byte {
	return encoded(t, image.NewGray(image.Rect(0, 0, shape[1], shape[0])))
}

func encoded(t *testing.T, picture draw.Image) []byte {
	t.Helper()
	for i, set := range pixels {
		if set {
			picture.Set(i%shape[1], i/shape[1], color.White)
		}
	}
	var written bytes.Buffer
	if err := png.Encode(&written, picture); err != nil {
		t.Fatal(err)
	}
	return written.Bytes()
}

func TestEveryFormOfAMaskGivesItsPixels(t *testing.T) {
	for name, mask := range map[string]*pb.Mask{
		"bits":    {Segmentation: &pb.Mask_Bitmap{Bitmap: tensor(pb.DType_D_TYPE_BITS, []byte{0x40, 0xc0}, 2, 3)}},
		"uint8":   {Segmentation: &pb.Mask_Bitmap{Bitmap: tensor(pb.DType_D_TYPE_UINT8, []byte{0, 9, 0, 1, 1, 0}, 2, 3)}},
		"lengths": {Segmentation: &pb.Mask_Rle{Rle: lengths(2, 3, runs...)}},
		"coco":    {Segmentation: &pb.Mask_Rle{Rle: coco(2, 3, "132")}},
		"png":     {Segmentation: &pb.Mask_Png{Png: file(t)}},
		"a png with a palette": {Segmentation: &pb.Mask_Png{Png: encoded(t, image.NewPaletted(
			image.Rect(0, 0, shape[1], shape[0]), color.Palette{color.Black, color.White}))}},
	} {
		found, err := featsvc.Mask(mask)
		if err != nil || !slices.Equal(found.Shape, shape) || !slices.Equal(found.Values, pixels) {
			t.Errorf("%s: %v %v", name, found, err)
		}
	}
}

func TestMasksOfAPromptAreStacked(t *testing.T) {
	for name, reply := range map[string]*pb.PromptMasks{
		"bits": {Masks: tensor(pb.DType_D_TYPE_BITS, []byte{0x40, 0xc0, 0x40, 0xc0}, 2, 2, 3)},
		"rle":  {Rle: []*pb.Rle{lengths(2, 3, runs...), lengths(2, 3, runs...)}},
		"png":  {Png: [][]byte{file(t), file(t)}},
	} {
		found, err := featsvc.PromptMasks(reply)
		if err != nil || !slices.Equal(found.Shape, []int{2, 2, 3}) || !slices.Equal(found.Row(1).Values, pixels) {
			t.Errorf("%s: %v %v", name, found, err)
		}
	}
}

func TestLongAndShrinkingRunsAreReadFromCocosText(t *testing.T) {
	// As pycocotools writes the runs 1000, 2000, 3000, 500, 40: the fourth is -1500 beside the second.
	found, err := featsvc.RunLengths(coco(1, 6540, "Xo0`n1hm2TaN`SM"))
	if err != nil {
		t.Fatal(err)
	}
	expected := slices.Concat(
		slices.Repeat([]bool{false}, 1000), slices.Repeat([]bool{true}, 2000), slices.Repeat([]bool{false}, 3000),
		slices.Repeat([]bool{true}, 500), slices.Repeat([]bool{false}, 40),
	)
	if !slices.Equal(found.Values, expected) {
		t.Error("other pixels")
	}
}

func TestAMaskThatDoesNotFitItsSizeIsAnError(t *testing.T) {
	if empty, err := featsvc.RunLengths(lengths(0, 3, 0, 0)); err != nil || len(empty.Values) != 0 {
		t.Error(empty, err)
	}
	for name, bad := range map[string]*pb.Rle{
		"too few": lengths(2, 3, 1, 2), "too many": lengths(2, 3, 1, 9), "cut off": coco(2, 3, "13R"), "nothing": {Height: 2, Width: 3},
		"negative": coco(2, 3, "1O"),
	} {
		if found, err := featsvc.RunLengths(bad); err == nil {
			t.Errorf("%s: %v", name, found)
		}
	}
	if _, err := featsvc.Mask(&pb.Mask{}); err == nil {
		t.Error("a mask without pixels was taken")
	}
	if _, err := featsvc.Mask(&pb.Mask{Segmentation: &pb.Mask_Png{Png: []byte("no file")}}); err == nil {
		t.Error("no PNG was taken")
	}
}

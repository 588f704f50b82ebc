package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"featsvc"
	pb "featsvc/gen/featsvc/v1"

	"google.golang.org/protobuf/proto"
)

const samples = 16

// arrays are those of an answer, by name.
type arrays map[string]sample

// sample is what is printed of an array.
type sample map[string]any

// described is an array as the client gives it, and the form in which it travelled.
func described[T featsvc.Element](form string, array featsvc.Array[T], err error) (sample, error) {
	if err != nil {
		return nil, err
	}
	var little bytes.Buffer
	if err := binary.Write(&little, binary.LittleEndian, array.Values); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(little.Bytes())
	about := sample{
		"sent": form, "dtype": fmt.Sprintf("%T", *new(T)), "shape": array.Shape, "sha256": hex.EncodeToString(digest[:]),
	}
	if values, ok := any(array.Values).([]float32); ok {
		count := min(samples, len(values))
		picked := make([]float64, count)
		for i := range picked {
			picked[i] = float64(values[i*len(values)/count])
		}
		about["sample"] = picked
		return about, nil
	}
	area, zero := 0, *new(T)
	for _, each := range array.Values {
		if each != zero {
			area++
		}
	}
	about["area"] = area
	return about, nil
}

// form is the name of a tensor's element type.
func form(tensor *pb.Tensor) string {
	return strings.ToLower(strings.TrimPrefix(tensor.GetDtype().String(), "D_TYPE_"))
}

func nothing[R proto.Message](R) (arrays, error) { return arrays{}, nil }

func features[R featsvc.FeatureReply](reply R) (arrays, error) {
	array, err := featsvc.Features(reply)
	return one("features", form(reply.GetFeatures()), array, err)
}

func textEmbeddings(reply *pb.EncodeTextResponse) (arrays, error) {
	array, err := featsvc.Floats(reply.GetTextEmbedding())
	return one("embeddings", "float32", array, err)
}

func imageEmbeddings(reply *pb.EncodeImageResponse) (arrays, error) {
	array, err := featsvc.Floats(reply.GetImageEmbedding())
	return one("embeddings", "float32", array, err)
}

func similarity(reply *pb.ComputeSimilarityResponse) (arrays, error) {
	array, err := featsvc.Floats(reply.GetSimilarityMap())
	return one("similarity", "float32", array, err)
}

func masks(reply *pb.GenerateMasksResponse) (arrays, error) {
	return pixels(reply.GetMasks(), reply.GetLabelMap())
}

func pixels(masks []*pb.Mask, labelMap *pb.Tensor) (arrays, error) {
	if labelMap != nil {
		labels, err := featsvc.Decode[uint16](labelMap)
		return one("label_map", form(labelMap), labels, err)
	}
	found := arrays{}
	for i, each := range masks {
		pixels, err := featsvc.Mask(each)
		about, err := described(maskForm(each.GetBitmap(), each.GetRle()), pixels, err)
		if err != nil {
			return nil, err
		}
		found[fmt.Sprintf("%d.mask", i)] = about
	}
	return found, nil
}

func masksOf(objects []*pb.SceneObject) []*pb.Mask {
	found := make([]*pb.Mask, len(objects))
	for i, each := range objects {
		found[i] = each.GetMask()
	}
	return found
}

func objects(reply *pb.DescribeObjectsResponse) (arrays, error) {
	found, err := pixels(masksOf(reply.GetObjects()), reply.GetLabelMap())
	for i, each := range reply.GetDescriptors() {
		if err != nil {
			break
		}
		vectors, wrong := featsvc.Vectors(each)
		found[fmt.Sprintf("%d.vectors", i)], err = described(form(each.GetVectors()), vectors, wrong)
	}
	return found, err
}

func found(reply *pb.FindObjectsResponse) (arrays, error) {
	found, err := pixels(masksOf(reply.GetObjects()), reply.GetLabelMap())
	if err != nil {
		return nil, err
	}
	for i, each := range reply.GetFound() {
		count := len(each.GetMatches())
		indices := featsvc.Array[uint16]{Shape: []int{count}, Values: make([]uint16, count)}
		scores := featsvc.Array[float32]{Shape: []int{count}, Values: make([]float32, count)}
		for j, match := range each.GetMatches() {
			indices.Values[j], scores.Values[j] = uint16(match.GetObject()), float32(match.GetScore())
		}
		if found[fmt.Sprintf("%d.objects", i)], err = described("uint16", indices, nil); err != nil {
			return nil, err
		}
		if found[fmt.Sprintf("%d.scores", i)], err = described("float32", scores, nil); err != nil {
			return nil, err
		}
	}
	if texts := reply.GetTextMap(); texts != nil {
		labels, wrong := featsvc.Decode[uint16](texts)
		found["text_map"], err = described(form(texts), labels, wrong)
	}
	return found, err
}

func embedding(reply *pb.EmbedImageResponse) (arrays, error) {
	found := arrays{}
	for name, tensor := range map[string]*pb.Tensor{
		"image_embed": reply.GetImageEmbed(), "high_res_feats_0": reply.GetHighResFeats_0(),
		"high_res_feats_1": reply.GetHighResFeats_1(),
	} {
		if tensor == nil {
			continue
		}
		values, err := featsvc.Floats(tensor)
		if found[name], err = described(form(tensor), values, err); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func prompts(reply *pb.PredictMasksResponse) (arrays, error) {
	found := arrays{}
	for i, each := range reply.GetResults() {
		var about sample
		var err error
		key := fmt.Sprintf("%d.masks", i)
		switch {
		case each.GetLabelMap() != nil:
			labels, wrong := featsvc.Decode[uint16](each.GetLabelMap())
			key = fmt.Sprintf("%d.label_map", i)
			about, err = described("uint16", labels, wrong)
		case each.GetMasks().GetDtype() == pb.DType_D_TYPE_FLOAT32:
			values, wrong := featsvc.Floats(each.GetMasks())
			about, err = described("float32", values, wrong)
		default:
			pixels, wrong := featsvc.PromptMasks(each)
			var rle *pb.Rle
			if len(each.GetRle()) > 0 {
				rle = each.GetRle()[0]
			}
			about, err = described(maskForm(each.GetMasks(), rle), pixels, wrong)
		}
		if err != nil {
			return nil, err
		}
		found[key] = about
		for name, tensor := range map[string]*pb.Tensor{
			"iou_predictions": each.GetIouPredictions(), "low_res_masks": each.GetLowResMasks(),
		} {
			if tensor == nil {
				continue
			}
			values, err := featsvc.Floats(tensor)
			if found[fmt.Sprintf("%d.%s", i, name)], err = described(form(tensor), values, err); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// maskForm is the form in which the pixels of a mask travelled.
func maskForm(bitmap *pb.Tensor, rle *pb.Rle) string {
	switch {
	case bitmap != nil:
		return form(bitmap)
	case rle.GetLengths() != nil:
		return "lengths"
	case rle != nil:
		return "coco"
	}
	return "png"
}

func one[T featsvc.Element](name, form string, array featsvc.Array[T], err error) (arrays, error) {
	about, err := described(form, array, err)
	return arrays{name: about}, err
}

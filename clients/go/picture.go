package featsvc

import (
	"os"

	pb "featsvc/gen/featsvc/v1"
)

// PictureFile is the picture in a file: JPEG, PNG, WebP or another format that the server allows.
func PictureFile(path string) (*pb.Image, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Picture(content), nil
}

// Picture is the picture in the bytes of such a file.
func Picture(content []byte) *pb.Image {
	return &pb.Image{Source: &pb.Image_Content{Content: content}}
}

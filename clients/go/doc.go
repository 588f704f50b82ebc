// Package featsvc is the Go client of featsvc: CLIP, DINO and SAM2 features and masks over gRPC.
//
// [Connect] gives a [Client], whose fields are the generated clients of the services: requests and replies are the
// messages of package featsvcv1, which document every field. What this package adds is around them: pictures from files
// ([PictureFile]), tensors and masks as slices ([Features], [Floats], [Decode], [Mask], [PromptMasks]), errors with the
// bad fields ([Error]), and another try where that may help ([RetryPolicy]).
//
// Large features should be asked for by [Client.ClipFeatures] and [Client.DinoFeatures], which receive them in pieces, and
// many pictures by [Client.StreamClipFeatures], [Client.StreamDinoFeatures] and [Client.StreamPredictMasks], which keep
// a few of them under way.
package featsvc

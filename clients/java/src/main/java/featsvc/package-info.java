/**
 * The Java client of featsvc: CLIP, DINO and SAM2 features and masks over gRPC.
 *
 * <p>{@link featsvc.FeatsvcClient} asks, with the messages of package {@code featsvc.v1}, which document every field. Around
 * them are pictures from files ({@link featsvc.Pictures}), tensors and masks as arrays ({@link featsvc.Tensors},
 * {@link featsvc.Masks}), exceptions with the bad fields ({@link featsvc.FeatsvcException}) and another try where that may
 * help ({@link featsvc.RetryPolicy}).
 */
package featsvc;

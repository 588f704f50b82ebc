package featsvc;

import static featsvc.Scripted.bytes;
import static featsvc.Scripted.tensor;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.protobuf.ByteString;
import featsvc.v1.DType;
import featsvc.v1.Mask;
import featsvc.v1.PromptMasks;
import featsvc.v1.Rle;
import featsvc.v1.RunLengths;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;

class MasksTest {
    /** The mask of all forms below: its runs go down the columns. */
    private static final boolean[] PIXELS = {false, true, false, true, true, false};

    private static final Rle LENGTHS = lengths(2, 3, 1, 3, 2);

    private static Rle lengths(int height, int width, Integer... counts) {
        return Rle.newBuilder().setHeight(height).setWidth(width)
                .setLengths(RunLengths.newBuilder().addAllCounts(Arrays.asList(counts))).build();
    }

    private static Rle coco(int height, int width, String text) {
        return Rle.newBuilder().setHeight(height).setWidth(width).setCoco(text).build();
    }

    private static ByteString png(int type) throws IOException {
        BufferedImage picture = new BufferedImage(3, 2, type);
        for (int i = 0; i < PIXELS.length; i++) {
            picture.setRGB(i % 3, i / 3, PIXELS[i] ? 0xffffffff : 0xff000000);
        }
        ByteString.Output written = ByteString.newOutput();
        ImageIO.write(picture, "png", written);
        return written.toByteString();
    }

    @Test
    void everyFormOfAMaskGivesItsPixels() throws IOException {
        for (Mask mask : List.of(
                Mask.newBuilder().setBitmap(tensor(DType.D_TYPE_BITS, bytes(0x40, 0xc0), 2, 3)).build(),
                Mask.newBuilder().setBitmap(tensor(DType.D_TYPE_UINT8, bytes(0, 9, 0, 1, 1, 0), 2, 3)).build(),
                Mask.newBuilder().setRle(LENGTHS).build(),
                Mask.newBuilder().setRle(coco(2, 3, "132")).build(),
                Mask.newBuilder().setPng(png(BufferedImage.TYPE_BYTE_BINARY)).build(),
                Mask.newBuilder().setPng(png(BufferedImage.TYPE_BYTE_GRAY)).build(),
                Mask.newBuilder().setPng(png(BufferedImage.TYPE_INT_RGB)).build())) {
            NdArray<boolean[]> found = Masks.pixels(mask);
            assertArrayEquals(new int[] {2, 3}, found.shape());
            assertArrayEquals(PIXELS, found.values(), mask.toString());
        }
    }

    @Test
    void masksOfAPromptAreStacked() throws IOException {
        ByteString file = png(BufferedImage.TYPE_BYTE_BINARY);
        for (PromptMasks reply : List.of(
                PromptMasks.newBuilder().setMasks(tensor(DType.D_TYPE_BITS, bytes(0x40, 0xc0, 0x40, 0xc0), 2, 2, 3)).build(),
                PromptMasks.newBuilder().addRle(LENGTHS).addRle(LENGTHS).build(),
                PromptMasks.newBuilder().addPng(file).addPng(file).build())) {
            NdArray<boolean[]> found = Masks.pixels(reply);
            assertArrayEquals(new int[] {2, 2, 3}, found.shape());
            assertArrayEquals(PIXELS, Arrays.copyOfRange(found.values(), found.index(1), 12));
        }
        PromptMasks uneven = PromptMasks.newBuilder().addRle(LENGTHS).addRle(lengths(1, 1, 1)).build();
        assertThrows(FeatsvcException.class, () -> Masks.pixels(uneven));
    }

    @Test
    void longAndShrinkingRunsAreReadFromCocosText() {
        // As pycocotools writes the runs 1000, 2000, 3000, 500, 40: the fourth is -1500 beside the second.
        boolean[] expected = new boolean[6540];
        Arrays.fill(expected, 1000, 3000, true);
        Arrays.fill(expected, 6000, 6500, true);
        assertArrayEquals(expected, Masks.runLengths(coco(1, 6540, "Xo0`n1hm2TaN`SM")).values());
    }

    @Test
    void aMaskThatDoesNotFitItsSizeIsAnError() {
        assertEquals(0, Masks.runLengths(lengths(0, 3, 0, 0)).values().length);
        for (Rle bad : List.of(
                lengths(2, 3, 1, 2), lengths(2, 3, 1, 9), coco(2, 3, "13R"), coco(2, 3, "1O"), lengths(2, 3, -1, 7),
                Rle.newBuilder().setHeight(2).setWidth(3).build())) {
            assertThrows(FeatsvcException.class, () -> Masks.runLengths(bad), bad.toString());
        }
        assertThrows(FeatsvcException.class, () -> Masks.pixels(Mask.getDefaultInstance()));
        assertThrows(FeatsvcException.class, () -> Masks.pixels(PromptMasks.getDefaultInstance()));
        Mask nothing = Mask.newBuilder().setPng(ByteString.copyFromUtf8("no file")).build();
        assertThrows(FeatsvcException.class, () -> Masks.pixels(nothing));
    }
}

package featsvc;

import com.google.protobuf.ByteString;
import featsvc.v1.DType;
import featsvc.v1.Mask;
import featsvc.v1.PromptMasks;
import featsvc.v1.Rle;
import featsvc.v1.Tensor;
import java.awt.image.BufferedImage;
import java.awt.image.IndexColorModel;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import javax.imageio.ImageIO;
import javax.imageio.stream.MemoryCacheImageInputStream;

/** Masks as booleans, however they were sent. Label maps are tensors, which {@link Tensors#ints} reads. */
public final class Masks {
    private Masks() {}

    /**
     * The pixels of an automatic mask.
     *
     * @param mask the mask
     * @return height x width
     */
    public static NdArray<boolean[]> pixels(Mask mask) {
        return switch (mask.getSegmentationCase()) {
            case BITMAP -> bitmap(mask.getBitmap());
            case RLE -> runLengths(mask.getRle());
            case PNG -> png(mask.getPng());
            default -> throw FeatsvcException.damaged("a mask without pixels; a label map may have them");
        };
    }

    /**
     * The masks of one prompt. Logits are no masks: {@link Tensors#floats} of their tensor reads them.
     *
     * @param reply the answer to the prompt
     * @return masks x height x width
     */
    public static NdArray<boolean[]> pixels(PromptMasks reply) {
        if (reply.hasMasks()) {
            return bitmap(reply.getMasks());
        }
        List<NdArray<boolean[]>> found = new ArrayList<>();
        reply.getRleList().forEach(each -> found.add(runLengths(each)));
        reply.getPngList().forEach(each -> found.add(png(each)));
        if (found.isEmpty()) {
            throw FeatsvcException.damaged("masks without pixels; a label map may have them");
        }
        int[] shape = found.get(0).shape();
        int size = shape[0] * shape[1];
        boolean[] all = new boolean[Math.multiplyExact(found.size(), size)];
        for (int i = 0; i < found.size(); i++) {
            if (found.get(i).values().length != size) {
                throw FeatsvcException.damaged("masks of different sizes");
            }
            System.arraycopy(found.get(i).values(), 0, all, i * size, size);
        }
        return new NdArray<>(new int[] {found.size(), shape[0], shape[1]}, all);
    }

    /**
     * The pixels of a mask written as runs in column-major order, as maskApi.c in cocodataset/cocoapi writes them.
     *
     * @param rle the runs
     * @return height x width
     */
    public static NdArray<boolean[]> runLengths(Rle rle) {
        long[] runs = switch (rle.getRunsCase()) {
            case LENGTHS -> rle.getLengths().getCountsList().stream().mapToLong(Integer::toUnsignedLong).toArray();
            case COCO -> cocoRuns(rle.getCoco());
            default -> new long[0];
        };
        // Looked at before memory is taken: sizes come from outside.
        long pixels = 0;
        for (long run : runs) {
            if (run < 0 || run > Integer.MAX_VALUE) {
                throw FeatsvcException.damaged("a run of " + run + " pixels");
            }
            pixels += run;
        }
        int height = rle.getHeight();
        int width = rle.getWidth();
        if (height < 0 || width < 0 || pixels > Integer.MAX_VALUE || pixels != (long) height * width) {
            throw FeatsvcException.damaged("runs of " + pixels + " pixels for a mask of " + height + " x " + width);
        }
        boolean[] mask = new boolean[(int) pixels];
        int at = 0;
        for (int i = 0; i < runs.length; i++) {
            int end = at + (int) runs[i];
            // Runs go down the columns; every other one is of background.
            for (; i % 2 == 1 && at < end; at++) {
                mask[at % height * width + at / height] = true;
            }
            at = end;
        }
        return new NdArray<>(new int[] {height, width}, mask);
    }

    /**
     * Reads COCO's compressed text: each count in groups of five bits, from the fourth on as the difference to the one two
     * before.
     */
    private static long[] cocoRuns(String text) {
        long[] runs = new long[text.length()];
        int count = 0;
        long number = 0;
        int shift = 0;
        for (int i = 0; i < text.length(); i++) {
            long group = text.charAt(i) - 48;
            number |= (group & 0x1f) << shift;
            shift += 5;
            if ((group & 0x20) != 0 && shift < 60) {
                continue;
            }
            if ((group & 0x10) != 0) {
                number |= -1L << shift;
            }
            runs[count] = count > 2 ? number + runs[count - 2] : number;
            count++;
            number = 0;
            shift = 0;
        }
        if (shift != 0) {
            throw FeatsvcException.damaged("compressed run lengths are cut off");
        }
        return Arrays.copyOf(runs, count);
    }

    /** True where a tensor of bits, booleans or numbers is above 0. */
    private static NdArray<boolean[]> bitmap(Tensor tensor) {
        if (tensor.getDtype() == DType.D_TYPE_BITS || tensor.getDtype() == DType.D_TYPE_BOOL) {
            return Tensors.booleans(tensor);
        }
        NdArray<float[]> found = Tensors.floats(tensor);
        boolean[] values = new boolean[found.values().length];
        for (int i = 0; i < values.length; i++) {
            values[i] = found.values()[i] > 0;
        }
        return new NdArray<>(found.shape(), values);
    }

    private static NdArray<boolean[]> png(ByteString content) {
        BufferedImage picture;
        try {
            // ImageIO would write other streams into a file first; it closes this one.
            picture = ImageIO.read(new MemoryCacheImageInputStream(content.newInput()));
        } catch (IOException e) {
            throw FeatsvcException.damaged("no PNG of a mask: " + e.getMessage());
        }
        if (picture == null) {
            throw FeatsvcException.damaged("no PNG of a mask");
        }
        int height = picture.getHeight();
        int width = picture.getWidth();
        boolean[] mask = new boolean[height * width];
        // The levels of one bit a pixel are the entries of a palette.
        boolean levels = !(picture.getColorModel() instanceof IndexColorModel) && picture.getRaster().getNumBands() == 1;
        for (int at = 0; at < mask.length; at++) {
            int x = at % width;
            int y = at / width;
            int level = levels ? picture.getRaster().getSample(x, y, 0) : picture.getRGB(x, y) & 0xffffff;
            mask[at] = level > 0;
        }
        return new NdArray<>(new int[] {height, width}, mask);
    }
}

package featsvc;

import static featsvc.Scripted.bytes;
import static featsvc.Scripted.tensor;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import featsvc.v1.DType;
import featsvc.v1.DinoServiceExtractFeaturesResponse;
import featsvc.v1.Rounding;
import featsvc.v1.Tensor;
import java.util.List;
import org.junit.jupiter.api.Test;

class TensorsTest {
    @Test
    void everyElementTypeBecomesAnArray() {
        float[] floats = {1, -2};
        assertArrayEquals(floats, Tensors.floats(
                tensor(DType.D_TYPE_FLOAT32, bytes(0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0), 2)).values());
        assertArrayEquals(floats, Tensors.floats(tensor(DType.D_TYPE_BFLOAT16, bytes(0x80, 0x3f, 0, 0xc0), 2)).values());
        assertArrayEquals(new int[] {0, 255}, Tensors.ints(tensor(DType.D_TYPE_UINT8, bytes(0, 255), 2)).values());
        assertArrayEquals(new int[] {127, -128}, Tensors.ints(tensor(DType.D_TYPE_INT8, bytes(127, 128), 2)).values());
        Tensor labels = tensor(DType.D_TYPE_UINT16, bytes(1, 0, 0, 0xff), 2);
        assertArrayEquals(new int[] {1, 0xff00}, Tensors.ints(labels).values());
        assertArrayEquals(new float[] {1, 0xff00}, Tensors.floats(labels).values());
        Tensor longs = tensor(DType.D_TYPE_INT64, bytes(0xfe, 255, 255, 255, 255, 255, 255, 255), 1);
        assertArrayEquals(new long[] {-2}, Tensors.longs(longs).values());
        assertArrayEquals(new float[] {-2}, Tensors.floats(longs).values());
        assertArrayEquals(
                new boolean[] {false, true}, Tensors.booleans(tensor(DType.D_TYPE_BOOL, bytes(0, 1), 2)).values());
    }

    @Test
    void eachRowOfBitsBeginsWithAByte() {
        boolean[] expected = new boolean[20];
        expected[0] = expected[9] = expected[18] = true;
        assertArrayEquals(
                expected, Tensors.booleans(tensor(DType.D_TYPE_BITS, bytes(0x80, 0x40, 0, 0x80), 2, 10)).values());
    }

    @Test
    void halfPrecisionIsWidenedExactly() {
        Tensor halves = tensor(
                DType.D_TYPE_FLOAT16,
                bytes(0, 0, 0, 0x80, 0, 0x3c, 0xff, 0x7b, 1, 0, 0xff, 3, 0, 4, 1, 0x80, 0, 0x7c, 0, 0xfc, 1, 0x7e), 11);
        float[] expected = {
            0, -0f, 1, 65504, 0x1p-24f, 1023 * 0x1p-24f, 0x1p-14f, -0x1p-24f,
            Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY, Float.NaN
        };
        float[] found = Tensors.floats(halves).values();
        for (int i = 0; i < expected.length; i++) {
            assertEquals(Float.floatToIntBits(expected[i]), Float.floatToIntBits(found[i]), "element " + i);
        }
    }

    @Test
    void integersAreMultipliedByTheScaleOfTheirChannel() {
        byte[] factors = bytes(0, 0, 0, 0x40, 0, 0, 0x40, 0x40); // 2 and 3
        assertArrayEquals(
                new float[] {2, 3, -2, -3}, scaled(bytes(1, 1, 255, 255), tensor(DType.D_TYPE_FLOAT32, factors, 2)));
        assertArrayEquals(
                new float[] {2, -2, 3, -3}, scaled(bytes(1, 255, 1, 255), tensor(DType.D_TYPE_FLOAT32, factors, 2, 1, 1)));
        assertThrows(FeatsvcException.class, () -> scaled(bytes(1, 1, 1, 1), Tensor.getDefaultInstance()));
    }

    private static float[] scaled(byte[] integers, Tensor scale) {
        return Tensors.features(DinoServiceExtractFeaturesResponse.newBuilder()
                .setFeatures(tensor(DType.D_TYPE_INT8, integers, 2, 1, 2))
                .setRounding(Rounding.newBuilder().setScale(scale))
                .build()).values();
    }

    @Test
    void aTensorThatDoesNotFitItsShapeIsAnError() {
        for (Tensor bad : List.of(
                tensor(DType.D_TYPE_FLOAT32, new byte[7], 2),
                tensor(DType.D_TYPE_FLOAT32, new byte[9], 2),
                Tensor.newBuilder().setDtypeValue(99).build(),
                Tensor.getDefaultInstance(),
                tensor(DType.D_TYPE_FLOAT32, new byte[0], 1 << 31, 2),
                tensor(DType.D_TYPE_FLOAT32, new byte[0], 1 << 30, 1 << 30, 16))) {
            assertThrows(FeatsvcException.class, () -> Tensors.floats(bad));
        }
        Tensor numbers = tensor(DType.D_TYPE_UINT8, new byte[1], 1);
        assertThrows(FeatsvcException.class, () -> Tensors.booleans(numbers));
        assertThrows(FeatsvcException.class, () -> Tensors.longs(numbers));
    }

    @Test
    void aBufferReadsTheDataAsTheyWereSent() {
        Tensor tensor = tensor(DType.D_TYPE_FLOAT32, bytes(0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0), 2);
        assertEquals(-2, Tensors.buffer(tensor).asFloatBuffer().get(1));
        assertTrue(Tensors.buffer(tensor).isReadOnly());
    }

    @Test
    void anArrayIsReadByIndex() {
        NdArray<int[]> array = new NdArray<>(new int[] {2, 3}, new int[] {1, 2, 3, 4, 5, 6});
        assertEquals(6, array.values()[array.index(1, 2)]);
        assertEquals(3, array.index(1));
        assertThrows(IndexOutOfBoundsException.class, () -> array.index(0, 3));
        assertThrows(IndexOutOfBoundsException.class, () -> array.index(0, 0, 0));
    }
}

package featsvc;

import featsvc.v1.ClipServiceExtractFeaturesResponse;
import featsvc.v1.DType;
import featsvc.v1.DinoServiceExtractFeaturesResponse;
import featsvc.v1.EmbedPyramidResponse;
import featsvc.v1.ObjectVectors;
import featsvc.v1.Rounding;
import featsvc.v1.Tensor;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;

/** Tensors as arrays. */
public final class Tensors {
    private Tensors() {}

    /**
     * The dense features of a reply as float32, of whatever type they were sent.
     *
     * @param reply the reply
     * @return the features
     */
    public static NdArray<float[]> features(ClipServiceExtractFeaturesResponse reply) {
        return features(reply.getFeatures(), reply.getRounding());
    }

    /**
     * The dense features of a reply as float32, of whatever type they were sent.
     *
     * @param reply the reply
     * @return the features
     */
    public static NdArray<float[]> features(DinoServiceExtractFeaturesResponse reply) {
        return features(reply.getFeatures(), reply.getRounding());
    }

    /**
     * The vectors of a pyramid as float32, of whatever type they were sent.
     *
     * @param reply the reply
     * @return the vectors
     */
    public static NdArray<float[]> features(EmbedPyramidResponse reply) {
        return features(reply.getFeatures(), reply.getRounding());
    }

    /**
     * The vectors of all objects in one way as float32, objects x channels, of whatever type they were sent.
     *
     * @param way the vectors
     * @return the same
     */
    public static NdArray<float[]> vectors(ObjectVectors way) {
        return features(way.getVectors(), way.getRounding());
    }

    private static NdArray<float[]> features(Tensor tensor, Rounding rounding) {
        return tensor.getDtype() == DType.D_TYPE_INT8 ? scaled(tensor, rounding.getScale()) : floats(tensor);
    }

    /**
     * The elements of a tensor of any number type as float32; float16 and bfloat16 are widened exactly.
     *
     * @param tensor the tensor
     * @return its elements
     */
    public static NdArray<float[]> floats(Tensor tensor) {
        ByteBuffer data = buffer(tensor);
        int[] shape = shape(tensor);
        float[] values = new float[product(shape)];
        switch (tensor.getDtype()) {
            case D_TYPE_FLOAT32 -> data.asFloatBuffer().get(values);
            case D_TYPE_FLOAT16 -> {
                for (int i = 0; i < values.length; i++) {
                    values[i] = widened(data.getShort());
                }
            }
            case D_TYPE_BFLOAT16 -> {
                for (int i = 0; i < values.length; i++) {
                    values[i] = Float.intBitsToFloat(data.getShort() << 16);
                }
            }
            case D_TYPE_INT64 -> {
                for (int i = 0; i < values.length; i++) {
                    values[i] = data.getLong();
                }
            }
            default -> {
                int[] integers = ints(tensor).values();
                for (int i = 0; i < values.length; i++) {
                    values[i] = integers[i];
                }
            }
        }
        return new NdArray<>(shape, values);
    }

    /**
     * The elements of a tensor of UINT8, INT8 or UINT16, such as a label map.
     *
     * @param tensor the tensor
     * @return its elements
     */
    public static NdArray<int[]> ints(Tensor tensor) {
        ByteBuffer data = buffer(tensor);
        int[] shape = shape(tensor);
        int[] values = new int[product(shape)];
        for (int i = 0; i < values.length; i++) {
            values[i] = switch (tensor.getDtype()) {
                case D_TYPE_UINT8 -> Byte.toUnsignedInt(data.get());
                case D_TYPE_INT8 -> data.get();
                case D_TYPE_UINT16 -> Short.toUnsignedInt(data.getShort());
                default -> throw FeatsvcException.damaged("a tensor of " + tensor.getDtype() + " holds no int");
            };
        }
        return new NdArray<>(shape, values);
    }

    /**
     * The elements of a tensor of INT64.
     *
     * @param tensor the tensor
     * @return its elements
     */
    public static NdArray<long[]> longs(Tensor tensor) {
        if (tensor.getDtype() != DType.D_TYPE_INT64) {
            throw FeatsvcException.damaged("a tensor of " + tensor.getDtype() + " holds no long");
        }
        int[] shape = shape(tensor);
        long[] values = new long[product(shape)];
        buffer(tensor).asLongBuffer().get(values);
        return new NdArray<>(shape, values);
    }

    /**
     * The elements of a tensor of BITS or BOOL.
     *
     * @param tensor the tensor
     * @return its elements
     */
    public static NdArray<boolean[]> booleans(Tensor tensor) {
        ByteBuffer data = buffer(tensor);
        int[] shape = shape(tensor);
        boolean[] values = new boolean[product(shape)];
        switch (tensor.getDtype()) {
            case D_TYPE_BOOL -> {
                for (int i = 0; i < values.length; i++) {
                    values[i] = data.get() != 0;
                }
            }
            case D_TYPE_BITS -> unpack(data, values, shape.length == 0 ? 1 : shape[shape.length - 1]);
            default -> throw FeatsvcException.damaged("a tensor of " + tensor.getDtype() + " holds no boolean");
        }
        return new NdArray<>(shape, values);
    }

    /**
     * The data of a tensor as they were sent, not copied: read-only and little-endian, so that {@code asFloatBuffer()} of it
     * reads a tensor of FLOAT32.
     *
     * @param tensor the tensor
     * @return its data, whose length fits the shape
     */
    public static ByteBuffer buffer(Tensor tensor) {
        long size = size(tensor);
        if (tensor.getData().size() != size) {
            throw FeatsvcException.damaged(
                    tensor.getData().size() + " bytes, but " + tensor.getDtype() + " of shape "
                            + Arrays.toString(shape(tensor)) + " takes " + size);
        }
        return tensor.getData().asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
    }

    /** The length of a tensor's data, in bytes. */
    static int size(Tensor tensor) {
        int width = switch (tensor.getDtype()) {
            case D_TYPE_UINT8, D_TYPE_INT8, D_TYPE_BOOL, D_TYPE_BITS -> 1;
            case D_TYPE_FLOAT16, D_TYPE_BFLOAT16, D_TYPE_UINT16 -> 2;
            case D_TYPE_FLOAT32 -> 4;
            case D_TYPE_INT64 -> 8;
            default -> throw FeatsvcException.damaged("a tensor of the unknown element type " + tensor.getDtypeValue());
        };
        int[] stored = shape(tensor);
        if (tensor.getDtype() == DType.D_TYPE_BITS && stored.length > 0) {
            // Each row of the last axis starts on a byte.
            stored[stored.length - 1] = (int) ((stored[stored.length - 1] + 7L) / 8);
        }
        return product(stored, width);
    }

    private static int[] shape(Tensor tensor) {
        return tensor.getShapeList().stream().mapToInt(Integer::intValue).toArray();
    }

    private static int product(int[] shape) {
        return product(shape, 1);
    }

    private static int product(int[] shape, int factor) {
        try {
            int size = factor;
            for (int each : shape) {
                // The wire has unsigned numbers, of which Java makes negative ones.
                size = Math.multiplyExact(size, Math.toIntExact(Integer.toUnsignedLong(each)));
            }
            return size;
        } catch (ArithmeticException tooLarge) {
            throw FeatsvcException.damaged("a tensor of shape " + Arrays.toString(shape) + " fits no array");
        }
    }

    /** The float32 equal to an IEEE 754 binary16; Java has a method for it only from version 20 on. */
    private static float widened(short half) {
        int sign = (half & 0x8000) << 16;
        int exponent = half >> 10 & 0x1f;
        int fraction = half & 0x3ff;
        int bits = switch (exponent) {
            // Zero and subnormals: the fraction counts in units of 2^-24, which float32 has exactly.
            case 0 -> Float.floatToRawIntBits(fraction * 0x1p-24f);
            case 31 -> 0x7f800000 | fraction << 13;
            default -> exponent + 112 << 23 | fraction << 13;
        };
        return Float.intBitsToFloat(sign | bits);
    }

    /** Reads bits, most significant first, each row from a new byte. */
    private static void unpack(ByteBuffer data, boolean[] values, int columns) {
        int stride = (columns + 7) / 8;
        for (int at = 0, row = 0; at < values.length; row++) {
            for (int column = 0; column < columns; column++) {
                values[at++] = (data.get(row * stride + column / 8) >> 7 - column % 8 & 1) == 1;
            }
        }
    }

    /** Integers times the factor of their channel: of the last axis, or of the first where the factors' shape says so. */
    private static NdArray<float[]> scaled(Tensor tensor, Tensor factors) {
        NdArray<int[]> integers = ints(tensor);
        NdArray<float[]> scale = floats(factors);
        int[] shape = integers.shape();
        boolean first = scale.shape().length == shape.length && shape.length > 1 && scale.shape()[0] != 1;
        int axis = first ? 0 : shape.length - 1;
        if (axis < 0 || shape[axis] != scale.values().length) {
            throw FeatsvcException.damaged(
                    scale.values().length + " factors for features of shape " + Arrays.toString(shape));
        }
        float[] values = new float[integers.values().length];
        // How many elements in a row share a factor.
        int each = first && values.length > 0 ? values.length / shape[0] : 1;
        for (int i = 0; i < values.length; i++) {
            values[i] = integers.values()[i] * scale.values()[i / each % scale.values().length];
        }
        return new NdArray<>(shape, values);
    }
}

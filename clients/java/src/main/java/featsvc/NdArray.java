package featsvc;

import java.util.Arrays;
import java.util.Objects;

/**
 * An n-dimensional array, row-major.
 *
 * @param <V> {@code float[]}, {@code boolean[]}, {@code int[]} or {@code long[]}
 * @param shape the size of each axis
 * @param values the elements; their number is the product of the shape
 */
public record NdArray<V>(int[] shape, V values) {
    /**
     * Where an element stands in {@link #values}.
     *
     * @param index one number for each axis; with fewer, the place is that of the first element of the part they name
     * @return the place
     */
    public int index(int... index) {
        if (index.length > shape.length) {
            throw new IndexOutOfBoundsException(index.length + " indices for an array of shape " + Arrays.toString(shape));
        }
        int at = 0;
        for (int axis = 0; axis < shape.length; axis++) {
            int i = axis < index.length ? index[axis] : 0;
            if (axis < index.length) {
                Objects.checkIndex(i, shape[axis]);
            }
            at = at * shape[axis] + i;
        }
        return at;
    }
}

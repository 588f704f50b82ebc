package featsvc;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnsafeByteOperations;
import featsvc.v1.Image;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Pictures to ask about. */
public final class Pictures {
    private Pictures() {}

    /**
     * The picture in a file.
     *
     * @param path the file: JPEG, PNG, WebP or another format that the server allows
     * @return the picture
     * @throws IOException where the file cannot be read
     */
    public static Image file(Path path) throws IOException {
        return Image.newBuilder().setContent(UnsafeByteOperations.unsafeWrap(Files.readAllBytes(path))).build();
    }

    /**
     * The picture in the bytes of such a file.
     *
     * @param content the bytes
     * @return the picture
     */
    public static Image bytes(byte[] content) {
        return Image.newBuilder().setContent(ByteString.copyFrom(content)).build();
    }
}

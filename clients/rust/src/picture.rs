use std::io;
use std::path::Path;

use prost::bytes::Bytes;

use crate::proto::Image;
use crate::proto::image::Source;

/// The picture in a file: JPEG, PNG, WebP or another format that the server allows.
pub async fn picture_file(path: impl AsRef<Path>) -> io::Result<Image> {
    Ok(picture(tokio::fs::read(path).await?))
}

/// The picture in the bytes of such a file.
pub fn picture(content: impl Into<Bytes>) -> Image {
    Image { source: Some(Source::Content(content.into())), ..Default::default() }
}

//! The arrays of an answer by name, each with the form in which it was sent.

use featsvc::proto::{
    DType, DescribeObjectsResponse, EmbedImageResponse, FindObjectsResponse, GenerateMasksResponse, Mask,
    PredictMasksResponse, Rle, SceneObject, Tensor, mask::Segmentation, rle::Runs,
};
use featsvc::{Error, FeatureReply, decode, mask, prompt_masks, vectors};
use ndarray::{Array, Array1, Dimension};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub type Arrays = Map<String, Value>;
const SAMPLES: usize = 16;

/// An element as the client gives it to its caller.
trait Element: Copy {
    const NAME: &str;
    fn little(self) -> impl AsRef<[u8]>;
    /// The value of a floating-point number.
    fn float(self) -> Option<f64> {
        None
    }
}

impl Element for f32 {
    const NAME: &str = "float32";
    fn little(self) -> impl AsRef<[u8]> {
        self.to_le_bytes()
    }
    fn float(self) -> Option<f64> {
        Some(self.into())
    }
}

impl Element for bool {
    const NAME: &str = "bool";
    fn little(self) -> impl AsRef<[u8]> {
        [self.into()]
    }
}

impl Element for u16 {
    const NAME: &str = "uint16";
    fn little(self) -> impl AsRef<[u8]> {
        self.to_le_bytes()
    }
}

/// What is printed of an array.
fn described<T: Element, D: Dimension>(form: &str, array: &Array<T, D>) -> Value {
    let values: Vec<T> = array.iter().copied().collect();
    let bytes: Vec<u8> = values.iter().flat_map(|each| each.little().as_ref().to_vec()).collect();
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut about = json!({"sent": form, "dtype": T::NAME, "shape": array.shape(), "sha256": digest});
    let count = values.len().min(SAMPLES);
    let sample: Option<Vec<f64>> = (0..count).map(|i| values[i * values.len() / count].float()).collect();
    match sample {
        Some(sample) if T::NAME == f32::NAME => about["sample"] = json!(sample),
        _ => {
            let set = values.iter().filter(|each| each.little().as_ref().iter().any(|byte| *byte != 0));
            about["area"] = json!(set.count());
        }
    }
    about
}

/// Name of a tensor's element type.
fn form(tensor: &Tensor) -> String {
    tensor.dtype().as_str_name().trim_start_matches("D_TYPE_").to_lowercase()
}

pub fn nothing<R>(_: &R) -> Result<Arrays, Error> {
    Ok(Arrays::new())
}

pub fn features<R: FeatureReply>(reply: &R) -> Result<Arrays, Error> {
    let sent = reply.features().map(form).unwrap_or_default();
    Ok(one("features", described(&sent, &featsvc::features(reply)?)))
}

pub fn floats(name: &str, tensor: Option<&Tensor>) -> Result<Arrays, Error> {
    let sent = tensor.map(form).unwrap_or_default();
    Ok(one(name, described(&sent, &featsvc::floats(tensor)?)))
}

pub fn masks(reply: &GenerateMasksResponse) -> Result<Arrays, Error> {
    pixels(reply.masks.iter(), reply.label_map.as_ref())
}

pub fn objects(reply: &DescribeObjectsResponse) -> Result<Arrays, Error> {
    let mut found = masks_of(&reply.objects, reply.label_map.as_ref())?;
    for (number, each) in reply.descriptors.iter().enumerate() {
        let sent = each.vectors.as_ref().map(form).unwrap_or_default();
        found.insert(format!("{number}.vectors"), described(&sent, &vectors(each)?));
    }
    Ok(found)
}

pub fn found(reply: &FindObjectsResponse) -> Result<Arrays, Error> {
    let mut found = masks_of(&reply.objects, reply.label_map.as_ref())?;
    for (number, each) in reply.found.iter().enumerate() {
        let indices: Array1<u16> = each.matches.iter().map(|each| each.object as u16).collect();
        let scores: Array1<f32> = each.matches.iter().map(|each| each.score as f32).collect();
        found.insert(format!("{number}.objects"), described("uint16", &indices));
        found.insert(format!("{number}.scores"), described("float32", &scores));
    }
    if let Some(texts) = &reply.text_map {
        found.insert("text_map".to_owned(), described(&form(texts), &decode::<u16>(texts)?));
    }
    Ok(found)
}

pub fn embedding(reply: &EmbedImageResponse) -> Result<Arrays, Error> {
    let tensors = [
        ("image_embed", &reply.image_embed),
        ("high_res_feats_0", &reply.high_res_feats_0),
        ("high_res_feats_1", &reply.high_res_feats_1),
    ];
    let there = tensors.into_iter().filter_map(|(name, tensor)| Some((name, tensor.as_ref()?)));
    there.map(|(name, tensor)| Ok((name.to_owned(), described(&form(tensor), &featsvc::floats(tensor)?)))).collect()
}

fn masks_of(objects: &[SceneObject], label_map: Option<&Tensor>) -> Result<Arrays, Error> {
    pixels(objects.iter().filter_map(|each| each.mask.as_ref()), label_map)
}

fn pixels<'a>(masks: impl Iterator<Item = &'a Mask>, label_map: Option<&Tensor>) -> Result<Arrays, Error> {
    if let Some(labels) = label_map {
        return Ok(one("label_map", described(&form(labels), &decode::<u16>(labels)?)));
    }
    let about = |(number, each): (usize, &Mask)| {
        let sent = match &each.segmentation {
            Some(Segmentation::Bitmap(tensor)) => form(tensor),
            Some(Segmentation::Rle(rle)) => rle_form(rle),
            _ => "png".to_owned(),
        };
        Ok((format!("{number}.mask"), described(&sent, &mask(each)?)))
    };
    masks.enumerate().map(about).collect()
}

pub fn prompts(reply: &PredictMasksResponse) -> Result<Arrays, Error> {
    let mut found = Arrays::new();
    for (number, each) in reply.results.iter().enumerate() {
        let (name, about) = match (&each.label_map, &each.masks) {
            (Some(labels), _) => ("label_map", described(&form(labels), &decode::<u16>(labels)?)),
            (_, Some(tensor)) if tensor.dtype() == DType::Float32 => {
                ("masks", described("float32", &featsvc::floats(tensor)?))
            }
            (_, tensor) => {
                let written = || each.rle.first().map_or("png".to_owned(), rle_form);
                let sent = tensor.as_ref().map_or_else(written, form);
                ("masks", described(&sent, &prompt_masks(each)?))
            }
        };
        found.insert(format!("{number}.{name}"), about);
        let scores = [("iou_predictions", &each.iou_predictions), ("low_res_masks", &each.low_res_masks)];
        for (name, tensor) in scores {
            if let Some(tensor) = tensor {
                found.insert(format!("{number}.{name}"), described(&form(tensor), &featsvc::floats(tensor)?));
            }
        }
    }
    Ok(found)
}

fn rle_form(rle: &Rle) -> String {
    if matches!(rle.runs, Some(Runs::Lengths(_))) { "lengths" } else { "coco" }.to_owned()
}

fn one(name: &str, about: Value) -> Arrays {
    Arrays::from_iter([(name.to_owned(), about)])
}

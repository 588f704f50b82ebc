//! The arrays of an answer by name, each with the form in which it was sent.

use featsvc::proto::{DType, GenerateMasksResponse, PredictMasksResponse, Rle, Tensor, mask::Segmentation, rle::Runs};
use featsvc::{Error, FeatureReply, decode, mask, prompt_masks};
use ndarray::{Array, Dimension};
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
    if let Some(labels) = &reply.label_map {
        return Ok(one("label_map", described(&form(labels), &decode::<u16>(labels)?)));
    }
    let pixels = |(number, each)| {
        let each: &featsvc::proto::Mask = each;
        let sent = match &each.segmentation {
            Some(Segmentation::Bitmap(tensor)) => form(tensor),
            Some(Segmentation::Rle(rle)) => rle_form(rle),
            _ => "png".to_owned(),
        };
        Ok((format!("{number}.mask"), described(&sent, &mask(each)?)))
    };
    reply.masks.iter().enumerate().map(pixels).collect()
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

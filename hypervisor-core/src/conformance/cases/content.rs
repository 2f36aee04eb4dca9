use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::table::area;
use crate::conformance::check::{Check, check, check_eq, refused_as, refused_unknown};
use crate::conformance::context::{Context, Made};
use crate::conformance::steps::{chunked, pattern};
use crate::error::ErrorKind::{Exhausted, InvalidInput};
use crate::model::Feature::{DownloadRange, UploadCreates, WipeAlgorithms};
use crate::model::{ByteSize, ByteStream, DownloadVolume, UploadVolume, VolumeId, WipeAlgorithm};
use crate::operation::Operation::{
    CreateVolume, DownloadVolume as Download, GetVolume, UploadVolume as Upload, WipeVolume,
};

area! { "content":
    what_is_uploaded_is_downloaded [CreateVolume, Upload, Download];
    a_part_is_downloaded [CreateVolume, Upload, Download, DownloadRange];
    a_part_beyond_the_end_is_refused [CreateVolume, Download, DownloadRange];
    more_than_fits_is_refused [CreateVolume, Upload];
    a_stream_that_ends_early_is_an_error [CreateVolume, Upload];
    an_upload_makes_its_volume [CreateVolume, GetVolume, Upload, Download, UploadCreates];
    an_upload_that_ends_early_leaves_no_volume [CreateVolume, Upload, UploadCreates];
    a_missing_volume_takes_no_upload [CreateVolume, Upload];
    a_missing_volume_gives_no_download [CreateVolume, Download];
    a_wiped_volume_has_only_zeroes [CreateVolume, Upload, Download, WipeVolume];
    a_randomly_wiped_volume_has_lost_its_content [CreateVolume, Upload, Download, WipeVolume, WipeAlgorithms];
    a_missing_volume_is_not_wiped [CreateVolume, WipeVolume];
}

const MIB: usize = 1 << 20;

/// Two contents too long to print.
fn same(what: &str, found: &Bytes, expected: &[u8]) -> Check {
    check_eq!(format!("the length of {what}"), found.len(), expected.len());
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    check!(differs.is_none(), "{what} differs from byte {} on", differs.unwrap_or_default());
    Ok(())
}

/// A raw volume of 1 MiB with a pattern in it.
async fn filled(cx: &Context) -> Check<(VolumeId, Bytes)> {
    let volume = cx.raw("v", ByteSize::mib(1)).await?;
    let content = pattern(MIB);
    cx.upload(&volume, &content).await?;
    Ok((volume, content))
}

async fn what_is_uploaded_is_downloaded(cx: &Context) -> Check {
    let (volume, content) = filled(cx).await?;
    same("the download", &cx.download(&volume).await?, &content)
}

async fn a_part_is_downloaded(cx: &Context) -> Check {
    let (volume, content) = filled(cx).await?;
    let part = DownloadVolume::all().offset(ByteSize::kib(3)).length(ByteSize::kib(70));
    let stream = cx.hv.download_volume(&volume, &part).await?;
    check_eq!("the announced length", stream.length(), ByteSize::kib(70).as_bytes());
    let expected = content.slice((3 << 10)..(73 << 10));
    same("the part", &stream.collect(1 << 20).await?, &expected)?;
    let rest = DownloadVolume::all().offset(ByteSize::kib(1000));
    let stream = cx.hv.download_volume(&volume, &rest).await?;
    same("the rest", &stream.collect(1 << 20).await?, &content.slice((1000 << 10)..))
}

async fn a_part_beyond_the_end_is_refused(cx: &Context) -> Check {
    let volume = cx.raw("v", ByteSize::mib(1)).await?;
    let part = DownloadVolume::all().offset(ByteSize::gib(1)).length(ByteSize::kib(1));
    let begun = cx.hv.download_volume(&volume, &part).await;
    refused_as("downloading what lies behind the end", begun, &[InvalidInput])?;
    Ok(())
}

async fn more_than_fits_is_refused(cx: &Context) -> Check {
    let volume = cx.raw("v", ByteSize::mib(1)).await?;
    let content = chunked(&pattern(9 * MIB));
    let sent = cx.hv.upload_volume(&UploadVolume::to(&volume), content).await;
    refused_as("uploading 9 MiB into 1 MiB", cx.done(sent).await, &[InvalidInput, Exhausted])?;
    Ok(())
}

/// Announces 1 MiB and gives the half.
fn cut() -> ByteStream {
    ByteStream::new(1 << 20, chunked(&pattern(MIB / 2)).into_chunks())
}

async fn a_stream_that_ends_early_is_an_error(cx: &Context) -> Check {
    let volume = cx.raw("v", ByteSize::mib(1)).await?;
    let sent = cx.hv.upload_volume(&UploadVolume::to(&volume), cut()).await;
    check!(cx.done(sent).await.is_err(), "half a stream is taken for the whole");
    Ok(())
}

async fn an_upload_makes_its_volume(cx: &Context) -> Check {
    let content = pattern(MIB + 512);
    let target = UploadVolume::Create(cx.raw_spec("v", ByteSize::kib(512)).await?);
    let started = cx.hv.upload_volume(&target, chunked(&content)).await?;
    cx.keep(Made::Volume(started.output.clone()));
    let volume = cx.done(Ok(started)).await?;
    let info = cx.volume_info(&volume).await?;
    check_eq!("its name", info.name, cx.name("v"));
    let length = ByteSize::bytes(stream_length(&content));
    check!(info.capacity >= length, "its capacity is {}, less than its content", info.capacity);
    let found = cx.download(&volume).await?;
    check!(found.len() >= content.len(), "of {} bytes, {} are left", content.len(), found.len());
    same("the download", &found.slice(..content.len()), &content)
}

fn stream_length(content: &Bytes) -> u64 {
    chunked(content).length()
}

async fn an_upload_that_ends_early_leaves_no_volume(cx: &Context) -> Check {
    let target = UploadVolume::Create(cx.raw_spec("v", ByteSize::mib(1)).await?);
    let sent = cx.hv.upload_volume(&target, cut()).await;
    check!(cx.done(sent).await.is_err(), "half a stream is taken for the whole");
    // A server at a distance learns of the end after its caller, and may be about to make the volume: it has to stay away for a while.
    let looks = AtomicU32::new(0);
    let gone = || async {
        let away = cx.volumes().await?.is_empty();
        let looks =
            if away { looks.fetch_add(1, Ordering::Relaxed) } else { looks.swap(0, Ordering::Relaxed) };
        tokio::time::sleep(Duration::from_millis(250)).await;
        Ok((away && looks >= 5).then_some(()))
    };
    cx.until("half an upload is gone", gone).await?;
    cx.nothing_made("half an upload").await
}

async fn a_missing_volume_takes_no_upload(cx: &Context) -> Check {
    let gone = cx.missing_volume().await?;
    let sent = cx.hv.upload_volume(&UploadVolume::to(&gone), chunked(&pattern(512))).await;
    refused_unknown("uploading into a missing volume", cx.done(sent).await, VolumeId::NOUN, &gone)
}

async fn a_missing_volume_gives_no_download(cx: &Context) -> Check {
    let gone = cx.missing_volume().await?;
    let begun = cx.hv.download_volume(&gone, &DownloadVolume::all()).await;
    refused_unknown("downloading a missing volume", begun, VolumeId::NOUN, &gone)
}

async fn a_wiped_volume_has_only_zeroes(cx: &Context) -> Check {
    let (volume, _) = filled(cx).await?;
    cx.done(cx.hv.wipe_volume(&volume, WipeAlgorithm::Zero).await).await?;
    same("the wiped volume", &cx.download(&volume).await?, &vec![0; MIB])
}

async fn a_randomly_wiped_volume_has_lost_its_content(cx: &Context) -> Check {
    let (volume, content) = filled(cx).await?;
    cx.done(cx.hv.wipe_volume(&volume, WipeAlgorithm::Random).await).await?;
    let found = cx.download(&volume).await?;
    check_eq!("the length of the wiped volume", found.len(), content.len());
    let kept = found.iter().zip(&content).filter(|(found, before)| found == before).count();
    check!(kept < MIB / 16, "{kept} of {MIB} bytes are as before");
    Ok(())
}

async fn a_missing_volume_is_not_wiped(cx: &Context) -> Check {
    let gone = cx.missing_volume().await?;
    let wiped = cx.hv.wipe_volume(&gone, WipeAlgorithm::Zero).await;
    refused_unknown("wiping a missing volume", cx.done(wiped).await, VolumeId::NOUN, &gone)
}

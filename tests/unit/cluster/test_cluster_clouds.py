"""Values of the launcher's files that fit their type and that no cloud would take, or that contradict another value."""

from collections.abc import Callable

import pytest

Read = Callable[[str], str]
Check = Callable[[str], list[str]]

PROFILE = "{Name: genre-ray-head}"
SPOT = "provisioningModel: SPOT, instanceTerminationAction: DELETE, automaticRestart: false"
DISK = "zones/us-central1-a/diskTypes/pd-balanced"
STORAGE = "https://www.googleapis.com/auth/devstorage.read_write"
UBUNTU = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64"

AWS = [
    ("us-west-2a,us-west-2b,us-west-2c", "us-west-2x", "is no zone of us-west-2"),
    (PROFILE, "{}", "IamInstanceProfile: names no profile"),
    (PROFILE, "{Name: null}", "IamInstanceProfile"),
    (PROFILE, "{Name: a, Arn: 'arn:aws:iam::123456789012:instance-profile/a'}", "names a profile twice"),
    (PROFILE, "{Arn: 'arn:aws:iam::123456789012:role/a'}", "Arn: is no instance profile"),
    (PROFILE, "{Arn: genre-ray-head}", "Arn: is no instance profile"),
    (PROFILE, "{Name: 'a b'}", "Name: is no name"),
    ("VolumeSize: 100", "VolumeSize: 0", "VolumeSize: not in 8..65536"),
    ("VolumeSize: 100", "VolumeSize: -5", "VolumeSize: not in 8..65536"),
    ("VolumeSize: 100", "VolumeSize: 1", "VolumeSize: not in 8..65536"),
    ("VolumeSize: 100", "VolumeSize: 100000", "VolumeSize: not in 8..65536"),
    ("VolumeType: gp3", "VolumeType: gp3, Iops: 100000000", "Iops: not in 3000..80000"),
    ("VolumeType: gp3", "VolumeType: gp2, Iops: 3000", "Iops: cannot be chosen for gp2"),
    ("DeviceName: /dev/sda1", "DeviceName: /dev/xvda", "is not the root of this image, /dev/sda1"),
    ("DeviceName: /dev/sda1\n          ", "", "DeviceName: is missing"),
    ("HttpPutResponseHopLimit: 1", "HttpPutResponseHopLimit: 99", "HttpPutResponseHopLimit: not in 1..64"),
    ("HttpTokens: required", "HttpTokens: optional", "lets whatever runs on the machine"),
    ("{MarketType: spot}", "{MarketType: spot, SpotOptions: {MaxPrice: 'cheap'}}", "MaxPrice: is no price"),
    ("{MarketType: spot}", "{MarketType: capacity-block}", "needs CapacityReservationSpecification"),
    ("      InstanceMarketOptions: &spot {MarketType: spot}\n", "", "undefined alias"),
    ("      InstanceMarketOptions: *spot\n", "", "is missing, although gpu_spot is called spot"),
    ("InstanceType: m7i.xlarge", "InstanceType: m7g.xlarge", "m7g.xlarge is arm64, and the image is amd64"),
    ("24.04/stable/current/amd64", "24.04/stable/current/arm64", "m7i.xlarge is amd64, and the image is arm64"),
    ("24.04/stable/current", "24.04/stable/curent", "ImageId: is no parameter of AWS"),
    ("server/24.04/", "server/42.04/", "ImageId: is no parameter of AWS"),
    ("ebs-gp3/ami-id", "ebs-gp3/ami_id", "ImageId: is no parameter of AWS"),
    ("base-oss-nvidia-driver", "base-oss-nvidea-driver", "ImageId: is no parameter of AWS"),
    ("/aws/service/canonical", "/aws/servce/canonical", "ImageId: is no parameter of AWS"),
    ("ssh_user: ubuntu", "ssh_user: ubunto", "auth.ssh_user: is not the user of this image, ubuntu"),
    ("idle_timeout_minutes: 5", "idle_timeout_minutes: .nan", "idle_timeout_minutes: is not above 0"),
    ("idle_timeout_minutes: 5", "idle_timeout_minutes: .inf", "idle_timeout_minutes: is longer than a week"),
    ("idle_timeout_minutes: 5", "idle_timeout_minutes: 5000000", "idle_timeout_minutes: is longer than a week"),
    ("auth:\n", "docker: {image: 'x :1', container_name: c}\nauth:\n", "docker.image: is no image"),
    ("auth:\n", "docker: {image: 'x:1', container_name: a b}\nauth:\n", "docker.container_name: is no name"),
]

GCP = [
    ("us-central1", "us-centrl1", "provider.region: is no region (value us-centrl1); did you mean us-central1?"),
    ("availability_zone: us-central1-a", "availability_zone: us-central1-z", "is no zone of us-central1"),
    ("availability_zone: us-central1-a", "availability_zone: us-central1-b", "diskType: is not in us-central1-b"),
    ("project_id: project-of-a-test", "project_id: other-project", "email: is of another project"),
    ("resources: {CPU: 16}", "resources: {CPU: 32}", "resources.CPU: is not that of n2-standard-16, 16"),
    ("resources: {CPU: 16}", "resources: {}", "resources.CPU: is not that of n2-standard-16, 16"),
    ("    resources: {CPU: 16}\n", "", "resources.CPU: is not that of n2-standard-16, 16"),
    ("resources: {CPU: 4, GPU: 1}", "resources: {CPU: 4}", "resources.GPU: is not that of g2-standard-4, 1"),
    ("resources: {CPU: 4, GPU: 1}", "resources: {CPU: 4, GPU: 8}", "resources.GPU: is not that of g2-standard-4, 1"),
    (DISK, DISK.replace("balanced", "balancd"), "did you mean pd-balanced?"),
    (DISK, "pd-balanced", "diskType: is no disk type"),
    (DISK, DISK.replace("us-central1-a", "us-east1-b"), "diskType: is not in us-central1-a"),
    ("diskSizeGb: 100", "diskSizeGb: 1", "diskSizeGb: not in 10..65536"),
    ("diskSizeGb: 100", "diskSizeGb: -100", "diskSizeGb: not in 10..65536"),
    ("boot: true", "boot: false", "disks: not one of them is the boot disk"),
    ("autoDelete: true", "autoDelete: false", "autoDelete: keeps the disk"),
    (UBUNTU, UBUNTU.replace("global", "globl"), "sourceImage: is no image"),
    (UBUNTU, UBUNTU.replace("amd64", "amd46"), "sourceImage: is no image"),
    (UBUNTU, "ubuntu-2404", "sourceImage: is no image"),
    ("projects/project-of-a-test/regions/us-central1/subnetworks/closed", "closed", "subnetwork: is no subnet"),
    ("regions/us-central1/subnetworks", "regions/us-east1/subnetworks", "subnetwork: is not in us-central1"),
    ("genre-ray-head@project-of-a-test.iam.gserviceaccount.com", "genre-ray-head", "email: is no service account"),
    (".iam.gserviceaccount.com", ".iam.gserviceacount.com", "email: is no service account"),
    ("auth/cloud-platform", "auth/cloud-plattform", "did you mean cloud-platform?"),
    (STORAGE, "devstorage", "scopes.0: is no scope"),
    (STORAGE, STORAGE.replace("read_write", "read_only"), "scopes: cannot write to the bucket"),
    ("machineType: n2-standard-16", "machineType: n2-standard-16-metal", "unknown machine type"),
    ("machineType: n2-standard-16", "machineType: c4-standard-5", "unknown machine type"),
    (SPOT, SPOT.replace("false", "true"), "automaticRestart: cannot be true for a SPOT machine"),
    (SPOT, SPOT.replace("SPOT", "SPOT, onHostMaintenance: MIGRATE"), "onHostMaintenance: cannot be MIGRATE"),
    (SPOT, SPOT.replace("SPOT", "STANDARD"), "is not SPOT, although cpu_spot is called spot"),
    ("cluster_name: genre-ray", "cluster_name: Genre_Ray", "cluster_name: no name for a machine of Google's"),
    ("ssh_user: ubuntu", "ssh_user: root", "auth.ssh_user: cannot be root"),
]

LOCAL = [
    ("head_ip: 10.0.0.1", "head_ip: localhost", "is not reached from the workers"),
    ("head_ip: 10.0.0.1", "head_ip: 0.0.0.0", "is no address"),
    ("ssh_user: music", "ssh_user: music user", "auth.ssh_user: is no user name"),
    ("upscaling_speed: 1.0", "min_workers: 5", "min_workers: exceeds the number of worker_ips, 2"),
]

CASES = [(name, *case) for name, cases in (("aws", AWS), ("gcp", GCP), ("local", LOCAL)) for case in cases]


@pytest.mark.parametrize(("name", "right", "wrong", "said"), CASES)
def test_a_value_that_cannot_be_is_found(
    name: str, right: str, wrong: str, said: str, filled: Read, problems_of: Check
) -> None:
    text = filled(f"{name}.yaml")
    assert right in text
    everywhere = wrong == "us-centrl1"
    lines = problems_of(text.replace(right, wrong) if everywhere else text.replace(right, wrong, 1))
    assert any(said in line for line in lines), lines


def test_a_region_that_differs_from_what_is_in_it_is_found(filled: Read, problems_of: Check) -> None:
    here = "region: us-central1\n  availability_zone: us-central1-a"
    lines = problems_of(filled("gcp.yaml").replace(here, here.replace("central1", "west1")))
    assert any("diskType: is not in us-west1-a" in line for line in lines)
    assert any("subnetwork: is not in us-west1" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "right", "other"),
    [
        ("aws", "InstanceType: c7i.4xlarge", "InstanceType: r6a.2xlarge"),
        ("aws", "VolumeSize: 100, VolumeType: gp3", "VolumeSize: 20000, VolumeType: io2, Iops: 100000"),
        ("aws", PROFILE, "{Arn: 'arn:aws:iam::123456789012:instance-profile/team/genre-ray-head'}"),
        ("aws", "{MarketType: spot}", "{MarketType: spot, SpotOptions: {MaxPrice: '0.40'}}"),
        ("aws", "us-west-2a,us-west-2b,us-west-2c", "us-west-2d"),
        ("gcp", "n2-standard-16", "c3-standard-22-lssd"),
        ("gcp", "pd-balanced", "hyperdisk-balanced"),
        (
            "gcp",
            UBUNTU,
            "https://www.googleapis.com/compute/v1/projects/debian-cloud/global/images/debian-12-bookworm-v2",
        ),
        ("gcp", "ssh_user: ubuntu", "ssh_user: music"),
        ("local", "worker_ips: [10.0.0.2, node-2.example.org]", "worker_ips: []"),
    ],
)
def test_another_right_value_is_taken(name: str, right: str, other: str, filled: Read, problems_of: Check) -> None:
    text = filled(f"{name}.yaml")
    assert right in text
    changed = text.replace(right, other)
    if other == "c3-standard-22-lssd":
        changed = changed.replace("{CPU: 16}", "{CPU: 22}")
    assert problems_of(changed) == []

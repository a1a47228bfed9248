"""What the values of an EC2 node_config must be, and what they must be together: disks, image, market, identity.

Takes the fields as checked. Asks no cloud.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from genre_ray.cluster.problem import Problem, inside
from genre_ray.cluster.scan import holds_placeholder

_PROFILE = re.compile(r"arn:aws[\w-]*:iam::\d{12}:instance-profile/[\w+=,.@/-]+")
_NAME = re.compile(r"[\w+=,.@-]{1,128}")
_ARM = re.compile(r"(a1|[a-z]+\d+g[a-z]*|p6e-gb\d+)\.")
_IMAGE_OF = re.compile(r"(amd64|x86_64|arm64)")
_PARAMETERS = (
    re.compile(
        r"/aws/service/canonical/ubuntu/(server|server-minimal|pro-server|eks)/((1[468]|2\d)\.(04|10)|[a-z]+)"
        r"/stable/(current|\d{8}(\.\d+)?)/(amd64|arm64)/hvm/ebs-(gp2|gp3|ssd)/ami-id"
    ),
    re.compile(
        r"/aws/service/deeplearning/ami/(x86_64|arm64)/"
        r"((base|oss|proprietary|nvidia|driver|gpu|cpu|neuron|multi|framework|pytorch|tensorflow|with|single|cuda|"
        r"amazon|linux|ubuntu|[\d.]+)-?)+/(latest|[\d.]+)/ami-id"
    ),
    re.compile(r"/aws/service/ami-amazon-linux-latest/(amzn2|al2023)-ami-[\w.-]+"),
    re.compile(r"/aws/service/debian/release/\d+/latest/(amd64|arm64)"),
    re.compile(r"/aws/service/(ecs|eks|bottlerocket)/[\w./-]+"),
    re.compile(r"/(?!aw?s/|aws)[\w./-]+"),  # a parameter of one's own
)
_LARGEST_GB = 65536
_LEAST_ROOT_GB = 8
_IOPS = {"gp3": (3000, 80_000), "io1": (100, 64_000), "io2": (100, 256_000)}
_HOPS = 64


def check_values(config: Mapping[str, Any], place: str, *, kind: str) -> Iterator[Problem]:
    """Problems of a node_config whose fields and types fit; `kind`: the name of its node type."""
    yield from _check_profile(config.get("IamInstanceProfile"), inside(place, "IamInstanceProfile"))
    image = str(config.get("ImageId", ""))
    for index, device in enumerate(config.get("BlockDeviceMappings") or []):
        yield from _check_device(device, inside(inside(place, "BlockDeviceMappings"), index), root_of(image))
    sizes = [(device.get("Ebs") or {}).get("VolumeSize") for device in config.get("BlockDeviceMappings") or []]
    if "/canonical/" in image and not any(sizes):
        yield Problem(
            field=inside(place, "BlockDeviceMappings"),
            what="gives no VolumeSize, and the image's own 8 GB are too few for torch",
            remedy="write VolumeSize: 100",
        )
    yield from _check_image(image, config.get("InstanceType"), place)
    yield from _check_metadata(config.get("MetadataOptions") or {}, inside(place, "MetadataOptions"))
    yield from _check_market(config, place, kind)


def root_of(image: str) -> str | None:
    """The device of the root disk of an image whose maker can be told from its name."""
    if "ubuntu" in image:
        return "/dev/sda1"
    return "/dev/xvda" if "amazon-linux" in image or "debian" in image else None


def user_of(image: str) -> str | None:
    """The user whom an image lets in by SSH, where its maker can be told from its name."""
    if "ubuntu" in image:
        return "ubuntu"
    return "ec2-user" if "amazon-linux" in image else "admin" if "debian" in image else None


def _check_profile(profile: Mapping[str, Any] | None, place: str) -> Iterator[Problem]:
    if profile is None:
        return
    given = [name for name in ("Name", "Arn") if profile.get(name)]
    if len(given) != 1:
        what = "names a profile twice" if given else "names no profile"
        yield Problem(field=place, what=what, value=profile, remedy="write {Name: genre-ray-worker}, without Arn")
    elif given == ["Arn"] and not holds_placeholder(profile["Arn"]) and not _PROFILE.fullmatch(profile["Arn"]):
        yield Problem(
            field=inside(place, "Arn"),
            what="is no instance profile",
            value=profile["Arn"],
            remedy="write arn:aws:iam::ACCOUNT:instance-profile/NAME, not the role's",
        )
    elif given == ["Name"] and not _NAME.fullmatch(profile["Name"]):
        yield Problem(
            field=inside(place, "Name"), what="is no name", value=profile["Name"], remedy="write the profile's name"
        )


def _check_device(device: Mapping[str, Any], place: str, root: str | None) -> Iterator[Problem]:
    name, disk = device.get("DeviceName"), device.get("Ebs") or {}
    if not name:
        yield Problem(field=inside(place, "DeviceName"), what="is missing", remedy=f"write {root or '/dev/sda1'}")
    elif root and place.endswith(".0") and name != root:
        yield Problem(
            field=inside(place, "DeviceName"),
            what=f"is not the root of this image, {root}: it would be a second disk",
            value=name,
            remedy=f"write {root}",
        )
    size, kind = disk.get("VolumeSize"), disk.get("VolumeType", "gp2")
    if size is not None and not _LEAST_ROOT_GB <= size <= _LARGEST_GB:
        yield Problem(
            field=inside(place, "Ebs.VolumeSize"),
            what=f"not in {_LEAST_ROOT_GB}..{_LARGEST_GB}",
            value=size,
            remedy="give a size in GB, such as 100",
        )
    iops = disk.get("Iops")
    if iops is None:
        return
    if kind not in _IOPS:
        yield Problem(
            field=inside(place, "Ebs.Iops"), what=f"cannot be chosen for {kind}", value=iops, remedy="leave it out"
        )
    elif not _IOPS[kind][0] <= iops <= _IOPS[kind][1]:
        least, most = _IOPS[kind]
        yield Problem(
            field=inside(place, "Ebs.Iops"), what=f"not in {least}..{most}", value=iops, remedy="or leave it out"
        )


def _check_image(image: str, machine: object, place: str) -> Iterator[Problem]:
    parameter = re.sub(r":\d+$", "", image.removeprefix("resolve:ssm:"))
    if image.startswith("resolve:ssm:") and not any(known.fullmatch(parameter) for known in _PARAMETERS):
        yield Problem(
            field=inside(place, "ImageId"),
            what="is no parameter of AWS",
            value=parameter,
            remedy="see cluster/aws.yaml",
        )
    found = _IMAGE_OF.search(image)
    if found and isinstance(machine, str):
        wanted = "arm64" if _ARM.match(machine) else "amd64"
        given = found[1].replace("x86_64", "amd64")
        if wanted != given:
            yield Problem(
                field=inside(place, "ImageId"),
                what=f"{machine} is {wanted}, and the image is {given}",
                value=image,
                remedy="take the image for that processor",
            )


def _check_metadata(options: Mapping[str, Any], place: str) -> Iterator[Problem]:
    if options.get("HttpTokens") == "optional":
        yield Problem(
            field=inside(place, "HttpTokens"),
            what="lets whatever runs on the machine be tricked into fetching its credentials (IMDSv1)",
            value="optional",
            remedy="write required",
        )
    hops = options.get("HttpPutResponseHopLimit", 1)
    if not 1 <= hops <= _HOPS:
        yield Problem(
            field=inside(place, "HttpPutResponseHopLimit"), what=f"not in 1..{_HOPS}", value=hops, remedy="write 1"
        )


def _check_market(config: Mapping[str, Any], place: str, kind: str) -> Iterator[Problem]:
    here = inside(place, "InstanceMarketOptions")
    options = config.get("InstanceMarketOptions") or {}
    market = options.get("MarketType")
    if "spot" in kind and market != "spot":
        yield Problem(
            field=here,
            what=f"is missing, although {kind} is called spot: it would cost three times as much",
            value=market,
            remedy="write {MarketType: spot}, or rename it",
        )
    if market == "spot" and "on_demand" in kind:
        yield Problem(
            field=here, what=f"is spot, although {kind} is not called so", value=market, remedy="leave it out"
        )
    if market == "capacity-block" and "CapacityReservationSpecification" not in config:
        yield Problem(
            field=here, what="needs CapacityReservationSpecification", value=market, remedy="write {MarketType: spot}"
        )
    price = (options.get("SpotOptions") or {}).get("MaxPrice")
    if price is not None and not (re.fullmatch(r"\d+(\.\d+)?", price) and float(price) > 0):
        yield Problem(
            field=f"{here}.SpotOptions.MaxPrice", what="is no price", value=price, remedy='write dollars: "0.40"'
        )

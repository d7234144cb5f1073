//! Network namespaces: a loopback of their own and, for the way out, a tunnel whose other end is a descriptor
//! that the server reads packets from. The host's own network stays as it is.

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

/// The sandbox's address on its tunnel, in a block that is set aside for such uses (RFC 2544).
pub(crate) const INSIDE_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The far end, which answers nothing but DNS.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 252);
const INSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x7865, 0x6265, 0x63, 0, 0, 0, 2);
/// Large, since packets never meet a wire.
pub(crate) const MTU: u16 = 16_384;
const TUNNEL: &str = "tunnel0";

/// Makes network namespaces.
pub(crate) struct Networks {
    home: OwnedFd,
    /// Tunnels can be made.
    pub(crate) tunnels: bool,
    /// The host reaches the world by IPv6.
    pub(crate) ipv6: bool,
}

impl Networks {
    /// Tries whether namespaces and tunnels can be made here. The second is why tunnels cannot.
    pub(crate) fn prepare() -> io::Result<(Self, Option<String>)> {
        let home = fs::File::open("/proc/self/ns/net")?.into();
        let mut networks = Self { home, tunnels: true, ipv6: reaches_ipv6() };
        let tried = networks.enter();
        networks.leave()?;
        match tried {
            Ok(_) => Ok((networks, None)),
            Err(why) => {
                networks.tunnels = false;
                let tried = networks.enter();
                networks.leave()?;
                tried.map(|_| (networks, Some(why.to_string())))
            }
        }
    }

    /// Moves into a new namespace; returns its tunnel. Call [`leave`](Self::leave) whatever this says.
    pub(crate) fn enter(&self) -> io::Result<Option<OwnedFd>> {
        // SAFETY: this process has one thread, so no other one keeps what is unshared here.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)? };
        let socket = socket(libc::AF_INET)?;
        set_up(&socket, "lo")?;
        // So that a web server may listen on port 80, as it would in a container.
        let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
        if !self.tunnels {
            return Ok(None);
        }
        tunnel(&socket, self.ipv6).map(Some)
    }

    /// Moves back to the host's namespace.
    pub(crate) fn leave(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network))?)
    }
}

/// Whether there is a route to the world by IPv6: connecting a datagram socket looks for one and sends nothing.
fn reaches_ipv6() -> bool {
    let far = (Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888), 53);
    std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).and_then(|socket| socket.connect(far)).is_ok()
}

fn tunnel(socket: &OwnedFd, ipv6: bool) -> io::Result<OwnedFd> {
    let explain = |error: io::Error| io::Error::new(error.kind(), format!("/dev/net/tun: {error}"));
    let device =
        fs::File::options().read(true).write(true).custom_flags(libc::O_CLOEXEC).open("/dev/net/tun");
    let device: OwnedFd = device.map_err(explain)?.into();
    let mut request = interface(TUNNEL);
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    control(&device, libc::TUNSETIFF, &mut request).map_err(explain)?;

    let mut request = interface(TUNNEL);
    request.ifr_ifru.ifru_addr = address(INSIDE_V4);
    control(socket, libc::SIOCSIFADDR, &mut request)?;
    request.ifr_ifru.ifru_netmask = address(NETMASK);
    control(socket, libc::SIOCSIFNETMASK, &mut request)?;
    request.ifr_ifru.ifru_mtu = i32::from(MTU);
    control(socket, libc::SIOCSIFMTU, &mut request)?;
    set_up(socket, TUNNEL)?;
    route_v4(socket)?;
    if ipv6 {
        // A sandbox without IPv6 is better than none.
        let _ = route_v6(socket);
    }
    Ok(device)
}

fn route_v4(socket: &OwnedFd) -> io::Result<()> {
    let name = std::ffi::CString::new(TUNNEL)?;
    // SAFETY: all zeroes is a valid `rtentry`.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = address(Ipv4Addr::UNSPECIFIED);
    route.rt_flags = libc::RTF_UP;
    route.rt_dev = name.as_ptr().cast_mut();
    control(socket, libc::SIOCADDRT, &mut route)
}

fn route_v6(v4: &OwnedFd) -> io::Result<()> {
    let socket = socket(libc::AF_INET6)?;
    let mut request = interface(TUNNEL);
    control(v4, libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: the kernel has just filled in the index.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    let mut own = libc::in6_ifreq {
        ifr6_addr: libc::in6_addr { s6_addr: INSIDE_V6.octets() },
        ifr6_prefixlen: 64,
        ifr6_ifindex: index,
    };
    control(&socket, libc::SIOCSIFADDR, &mut own)?;
    let flags = u32::from(libc::RTF_UP);
    let mut everywhere = RouteV6 { flags, metric: 1, interface: index, ..RouteV6::default() };
    control(&socket, libc::SIOCADDRT, &mut everywhere)
}

/// `struct in6_rtmsg`, whose fields the `libc` crate keeps to itself.
#[repr(C)]
#[derive(Default)]
struct RouteV6 {
    destination: [u8; 16],
    source: [u8; 16],
    gateway: [u8; 16],
    kind: u32,
    destination_length: u16,
    source_length: u16,
    metric: u32,
    information: libc::c_ulong,
    flags: u32,
    interface: libc::c_int,
}

fn set_up(socket: &OwnedFd, name: &str) -> io::Result<()> {
    let mut request = interface(name);
    control(socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the kernel has just filled in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    control(socket, libc::SIOCSIFFLAGS, &mut request)
}

fn socket(family: i32) -> io::Result<OwnedFd> {
    let family = rustix::net::AddressFamily::from_raw(family as _);
    let flags = rustix::net::SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, rustix::net::SocketType::DGRAM, flags, None)?)
}

fn interface(name: &str) -> libc::ifreq {
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request
}

fn address(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: all zeroes is a valid `sockaddr`.
    let mut raw: libc::sockaddr = unsafe { std::mem::zeroed() };
    raw.sa_family = libc::AF_INET as _;
    // Behind the port's two bytes.
    for (place, byte) in raw.sa_data[2..6].iter_mut().zip(address.octets()) {
        *place = byte as libc::c_char;
    }
    raw
}

fn control<T>(descriptor: &OwnedFd, request: impl TryInto<libc::Ioctl>, argument: &mut T) -> io::Result<()> {
    let request = request.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: each request above is called with the structure that it asks for, alive and mutable.
    let result = unsafe { libc::ioctl(descriptor.as_raw_fd(), request, std::ptr::from_mut(argument)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

# escape=`
# Runs the checks of DirectML artifacts in a Windows container with the locked Windows toolchain.
# Build it on Windows, from the folder of this project, with an engine for Windows containers. BASE is
# Microsoft's windows/server image of the host's own Windows version, by digest, which process
# isolation needs:
# https://learn.microsoft.com/virtualization/windowscontainers/deploy-containers/gpu-acceleration
#
#   docker build -t quern/directml-windows --build-arg BASE=... `
#       -f images/directml/windows.Dockerfile .
#
# The GPU is given to it by process isolation and the DirectX device class:
#
#   docker run --rm --isolation process --device class/5B45201D-F2F2-4F3B-85BB-30FF1F953599 `
#       -v C:\path\to\dist\tone\directml:C:\artifact quern/directml-windows
ARG BASE
FROM ${BASE}
SHELL ["powershell", "-Command", "$ErrorActionPreference = 'Stop'; $ProgressPreference = 'SilentlyContinue';"]

# The last release of Python 3.11 that comes with an installer.
ADD https://www.python.org/ftp/python/3.11.9/python-3.11.9-amd64.exe C:\python.exe
RUN $wanted = '5EE42C4EEE1E6B4464BB23722F90B45303F79442DF63083F05322F1785F5FDDE'; `
    if ((Get-FileHash C:\python.exe -Algorithm SHA256).Hash -ne $wanted) { throw 'not the pinned Python' }; `
    $setup = Start-Process -Wait -PassThru C:\python.exe -ArgumentList `
        '/quiet', 'InstallAllUsers=1', 'PrependPath=1', 'Include_doc=0', 'Include_test=0', 'TargetDir=C:\Python'; `
    if ($setup.ExitCode) { throw 'Python cannot be installed' }; `
    Remove-Item C:\python.exe

COPY . C:\quern
WORKDIR C:\quern
RUN python -m pip install --quiet --require-hashes --only-binary :all: -r requirements.lock; `
    if ($LASTEXITCODE) { throw 'the host lock cannot be installed' }; `
    python -m targets images --target directml --runtime venv --cache C:\cache; `
    if ($LASTEXITCODE) { throw 'the toolchain cannot be made' }

ENTRYPOINT ["python", "-m", "targets", "check", "C:\\artifact", "--target", "directml", "--runtime", "venv", "--cache", "C:\\cache"]

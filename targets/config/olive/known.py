"""Olive's passes that Quern does not support, and the alternatives."""

from __future__ import annotations

from pipeline.contract.suggest import did_you_mean

_BUILDER = "ModelBuilder makes the ONNX graph in one step"
_FUSED = "ModelBuilder's graph is fused already; remove it"
_INT4 = 'ModelBuilder with "precision": "int4" quantizes to 4 bits'
_BEFORE = "put it before ModelBuilder, which then writes what it chooses"
_RTN = 'ModelBuilder with "precision": "int4" and "int4_algo_config": "rtn" rounds in blocks too'
_K_QUANT = 'ModelBuilder with "precision": "int4" and "int4_algo_config": "k_quant" is the nearest'
_INT8 = 'ModelBuilder with "precision": "int8" or "int4" quantizes the weights'
_SETTINGS = "ModelBuilder's parameter threads in a TOML config sets what the session uses"
_HARDWARE = "it is for hardware that no target of Quern runs on"
_NONE = "nothing here does its work; write it as a pass of your own"
_REPORT = "the report beside the artifact holds the metadata; remove it"

ALTERNATIVES = {
    "AddOliveMetadata": _REPORT,
    "AimetQuantization": _HARDWARE,
    "AitkPython": "it runs a script of the AI Toolkit's; write it as a pass of your own",
    "AppendPrePostProcessingOps": _NONE,
    "AutoAWQQuantizer": _INT4,
    "AutoClip": _INT4,
    "CaptureLayerAnnotations": _HARDWARE,
    "CaptureSplitInfo": _HARDWARE,
    "ComposeOnnxModels": _HARDWARE,
    "ConvertHfToGguf": _BUILDER,
    "DynamicToFixedShape": _HARDWARE,
    "EPContextBinaryGenerator": _HARDWARE,
    "Gptq": _BEFORE,
    "GptqModel": _BEFORE,
    "GptqQuantizer": _BEFORE,
    "GraphSurgeries": "TieWordEmbeddings after ModelBuilder is all that is done of it",
    "IncDynamicQuantization": _INT8,
    "IncQuantization": _INT8,
    "IncStaticQuantization": _INT8,
    "InputNCHWtoNHWC": _NONE,
    "InsertBeamSearch": "the runtime searches by itself; set it with ModelBuilder's search",
    "KQuant": _K_QUANT,
    "LlamaPyTorchTensorParallel": _HARDWARE,
    "MatMulNBitsToQDQ": 'ModelBuilder with "use_qdq": true, where its target knows it',
    "MixedPrecisionOverrides": "ModelBuilder's int4_algo_config k_quant_mixed mixes precisions",
    "MobiusBuilder": _BUILDER,
    "MoEExpertsDistributor": _HARDWARE,
    "NVModelOptGraphSurgery": _INT4,
    "NVModelOptQuantization": _INT4,
    "OnnxBlockWiseRtnQuantization": _RTN,
    "OnnxBnb4Quantization": _INT4,
    "OnnxConversion": _BUILDER,
    "OnnxDiscrepancyCheck": "conversion and quantization check every artifact for that; remove it",
    "OnnxDynamicQuantization": _INT8,
    "OnnxFloatToFloat16": 'ModelBuilder with "precision": "fp16" makes the graph in fp16',
    "OnnxHqqQuantization": _INT4,
    "OnnxIODataTypeConverter": "ModelBuilder's precision decides the types of inputs and outputs",
    "OnnxIOFloat16ToFloat32": "ModelBuilder's precision decides the types of inputs and outputs",
    "OnnxKQuantQuantization": _K_QUANT,
    "OnnxMatMul4Quantizer": _INT4,
    "OnnxModelOptimizer": _FUSED,
    "OnnxOpVersionConversion": "ModelBuilder decides the opset; remove it",
    "OnnxPeepholeOptimizer": _FUSED,
    "OnnxQuantization": _INT8,
    "OnnxQuantizationPreprocess": _FUSED,
    "OnnxScriptFusion": _FUSED,
    "OnnxStaticQuantization": _INT8,
    "OpenVINOConversion": _HARDWARE,
    "OpenVINOEncapsulation": _HARDWARE,
    "OpenVINOIoUpdate": _HARDWARE,
    "OpenVINOOptimumConversion": _HARDWARE,
    "OpenVINOQuantization": _HARDWARE,
    "OpenVINOQuantizationWithAccuracy": _HARDWARE,
    "OpenVINOWeightCompression": _HARDWARE,
    "OptimumConversion": _BUILDER,
    "OptimumMerging": _BUILDER,
    "OrtMixedPrecision": 'ModelBuilder with "precision": "fp16" makes the graph in fp16',
    "OrtPerfTuning": _SETTINGS,
    "OrtSessionParamsTuning": _SETTINGS,
    "OrtTransformersOptimization": _FUSED,
    "PowerOfTwoMethod": _HARDWARE,
    "PyTorchTensorParallel": _HARDWARE,
    "QNNContextBinaryGenerator": _HARDWARE,
    "QNNConversion": _HARDWARE,
    "QNNModelLibGenerator": _HARDWARE,
    "QNNPreprocess": _HARDWARE,
    "QairtEncapsulation": _HARDWARE,
    "QairtGenAIBuilder": _HARDWARE,
    "QairtMHA2SHA": _HARDWARE,
    "QairtPipelinePass": _HARDWARE,
    "QairtPreparation": _HARDWARE,
    "QuaRot": _INT4,
    "QuantizationAwareTraining": "QLoRA trains over a quantized base",
    "QuarkQuantization": _HARDWARE,
    "QuarkQuantizationVitisAI": _HARDWARE,
    "Rtn": _BEFORE,
    "RyzenGenerateModelLLM": _HARDWARE,
    "SDLoRA": "Quern builds text generation models only",
    "SNPEConversion": _HARDWARE,
    "SNPEQuantization": _HARDWARE,
    "SNPEtoONNXConversion": _HARDWARE,
    "SaveTestModelConfig": "it saves a random model for tests of Olive; remove it",
    "SelectiveMixedPrecision": _BEFORE,
    "SliceGPT": _NONE,
    "SparseGPT": _NONE,
    "SpinQuant": _INT4,
    "SplitModel": _HARDWARE,
    "StaticLLM": _HARDWARE,
    "TensorRTConversion": _HARDWARE,
    "TorchTRTConversion": _HARDWARE,
    "TrtMatMulToConvTransform": _HARDWARE,
    "VitisAIAddMetaData": _HARDWARE,
    "VitisAIQuantization": _HARDWARE,
    "VitisGenerateModelLLM": _HARDWARE,
    "VitisGenerateModelSD": _HARDWARE,
    "VitisQDQQuantizer": _HARDWARE,
    "VitisQOpQuantizer": _HARDWARE,
}
"""By Olive's name for the pass, over all its releases up to 0.13 and its main branch of August
2026, and by the AI Toolkit's."""

_FOLDED = {name.casefold(): name for name in ALTERNATIVES}


def alternative(name: str, ours: tuple[str, ...], buildable: bool) -> tuple[str, str]:
    """Return why there is no pass ``name``, and what could be used instead.

    ``ours`` are Olive's names of the passes that Quern has. ``buildable`` says whether the model is
    one that ModelBuilder takes, as far as the file says.
    """
    known = _FOLDED.get(name.casefold())
    if known is not None:
        advice = ALTERNATIVES[known]
        held = buildable or "ModelBuilder" not in advice
        return f"Quern has no pass {known}", advice if held else ""
    nearest = did_you_mean(name, (*ours, *ALTERNATIVES))
    return f"Quern has no pass '{name}', and Olive has none in any release up to 0.13", nearest


PROVIDERS = (
    "AzureExecutionProvider",
    "CPUExecutionProvider",
    "CUDAExecutionProvider",
    "CoreMLExecutionProvider",
    "DmlExecutionProvider",
    "JsExecutionProvider",
    "MIGraphXExecutionProvider",
    "NvTensorRTRTXExecutionProvider",
    "OpenVINOExecutionProvider",
    "QNNExecutionProvider",
    "ROCMExecutionProvider",
    "TensorrtExecutionProvider",
    "VitisAIExecutionProvider",
    "WebGpuExecutionProvider",
)
"""ONNX Runtime's execution providers."""
